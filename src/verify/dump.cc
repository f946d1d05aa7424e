#include "verify/dump.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <numeric>
#include <optional>
#include <tuple>

#include "base/numbers.h"
#include "base/printable.h"
#include "base/problems.h"
#include "kl/error.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxSequences = 1024;

/// What a name stands for.
struct Role {
  std::string what;  // "tokens", "positions", "logits", "hidden", ...
  int layer = -1;
  int sequence = 0;
};

std::optional<int> number_in(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool is_plain =
      error == std::errc() && end == text.data() + text.size() && value >= 0 && !text.starts_with('+');
  return is_plain ? std::optional(value) : std::nullopt;
}

/// "layer.3.hidden.1" -> hidden of layer 3, sequence 1.  The goldens' spellings of their second prompt are understood too.
std::optional<Role> role_of_array(std::string_view name) {
  if (name == "logits_f64") return Role{"logits", -1, 0};
  if (name == "logits2_f64") return Role{"logits", -1, 1};
  if (name == "tokens2") return Role{"tokens", -1, 1};
  Role role;
  if (name.starts_with("layer.")) {
    name.remove_prefix(6);
    const std::size_t dot = name.find('.');
    const auto layer = number_in(name.substr(0, dot));
    if (dot == name.npos || !layer) return {};
    role.layer = *layer;
    name.remove_prefix(dot + 1);
  }
  const std::size_t dot = name.find('.');
  if (dot != name.npos) {
    const auto sequence = number_in(name.substr(dot + 1));
    if (!sequence || *sequence == 0 || *sequence >= kMaxSequences) return {};
    role.sequence = *sequence;
  }
  role.what = name.substr(0, dot);
  const bool is_top = role.what == "tokens" || role.what == "positions" || role.what == "logits";
  return is_top == (role.layer < 0) ? std::optional(role) : std::nullopt;
}

constexpr std::pair<std::string_view, DumpKind> kLayerArrays[] = {
    {"conv_state", DumpKind::kConvState}, {"kda_state", DumpKind::kKdaState},
    {"mla_latent", DumpKind::kMlaLatent}, {"mla_k_pe", DumpKind::kMlaKPe},
    {"router_ids", DumpKind::kRouterIds}, {"router_weights", DumpKind::kRouterWeights},
    {"hidden", DumpKind::kHidden}};

/// Shape an array of this kind has in this layer after T tokens; empty if the layer has none.
std::vector<std::int64_t> shape_of(DumpKind kind, const ModelArgs& args, int layer, std::int64_t T) {
  const std::int64_t H = args.kda_num_heads, K = args.kda_head_dim, A = args.num_experts_per_token;
  switch (kind) {
    case DumpKind::kConvState:
      return args.is_kda(layer) ? std::vector<std::int64_t>{3, args.kda_conv_size - 1, H * K}
                                : std::vector<std::int64_t>{};
    case DumpKind::kKdaState:
      return args.is_kda(layer) ? std::vector<std::int64_t>{H, K, K} : std::vector<std::int64_t>{};
    case DumpKind::kMlaLatent:
      return args.is_kda(layer) ? std::vector<std::int64_t>{} : std::vector<std::int64_t>{T, args.kv_lora_rank};
    case DumpKind::kMlaKPe:
      return args.is_kda(layer) ? std::vector<std::int64_t>{} : std::vector<std::int64_t>{T, args.qk_rope_head_dim};
    case DumpKind::kRouterIds:
    case DumpKind::kRouterWeights:
      return args.is_moe(layer) ? std::vector<std::int64_t>{T, A} : std::vector<std::int64_t>{};
    case DumpKind::kHidden:
      return {T, args.hidden_size};
    case DumpKind::kLogits:
      break;
  }
  return {};
}

/// Reads the arrays of one file and gathers what is wrong with them.
class Reader {
 public:
  Reader(Dump& dump, const ModelArgs& args, Problems& problems) : dump_(dump), args_(args), problems_(problems) {}

  void read() {
    for (const auto& [name, tensor] : dump_.file.tensors()) {
      const auto role = role_of_array(name);
      const bool is_known = role && (role->layer < 0 || kind_of(role->what));
      if (!is_known) {
        dump_.ignored.push_back(name);
      } else if (!named_.emplace(std::tuple(role->sequence, role->layer, role->what), name).second) {
        report(name, fmt::format("expected one array of {}, got another beside it", role->what));
      }
    }
    read_tokens();
    if (!problems_.empty()) return;
    for (const auto& [key, name] : named_) {
      const auto& [sequence, layer, what] = key;
      if (static_cast<std::size_t>(sequence) >= dump_.sequences.size()) {
        report(name, fmt::format("expected at most {} sequences, as there are tokens, got sequence {}",
                                 dump_.sequences.size(), sequence));
      } else if (layer >= 0) {
        add_layer_array(name, *kind_of(what), sequence, layer);
      }
    }
    for (std::size_t s = 0; s < dump_.sequences.size(); ++s) add_logits(static_cast<int>(s));
    read_precision();
  }

 private:
  static std::optional<DumpKind> kind_of(std::string_view what) {
    for (const auto& [name, kind] : kLayerArrays)
      if (name == what) return kind;
    return {};
  }

  void report(std::string_view array, const std::string& what) {
    problems_.add(fmt::format("{}: {}: {}", dump_.file.name(), printable(array), what));
  }

  const std::string* find(int sequence, int layer, const std::string& what) const {
    const auto it = named_.find({sequence, layer, what});
    return it == named_.end() ? nullptr : &it->second;
  }

  /// Integers of a vector, or nothing.
  std::optional<std::vector<std::int64_t>> vector_of(const std::string& name) {
    const FileTensor& tensor = dump_.file.at(name);
    const auto type = parse_number_type(tensor.dtype);
    if (!type || !is_integer(*type) || tensor.shape.size() != 1 || tensor.shape[0] < 1) {
      report(name, fmt::format("expected a vector of integers, got {} {}", tensor.dtype, shape_text(tensor.shape)));
      return {};
    }
    return dump_.file.integers(name);
  }

  void read_tokens() {
    for (int s = 0; const std::string* name = find(s, -1, "tokens"); ++s) {
      DumpSequence& sequence = dump_.sequences.emplace_back();
      const auto ids = vector_of(*name);
      if (!ids) continue;
      for (std::size_t t = 0; t < ids->size(); ++t) {
        if ((*ids)[t] < 0 || (*ids)[t] >= args_.vocab_size) {
          report(*name, fmt::format("position {}: expected a token from 0 to {}, as the model has {}, got {}", t,
                                    args_.vocab_size - 1, args_.vocab_size, (*ids)[t]));
          break;
        }
        sequence.tokens.push_back(static_cast<Token>((*ids)[t]));
      }
    }
    if (dump_.sequences.empty()) report("tokens", "expected the tokens of the dump, got none");
  }

  void add(const std::string& name, DumpKind kind, int sequence, int layer, std::int64_t rows, std::int64_t cols) {
    const FileTensor& tensor = dump_.file.at(name);
    const auto type = parse_number_type(tensor.dtype);
    const bool are_ids = kind == DumpKind::kRouterIds;
    if (!type || !(are_ids ? is_integer(*type) : is_float(*type))) {
      report(name, fmt::format("expected {}, got {}", are_ids ? "integers" : "F64, F32, F16 or BF16", tensor.dtype));
      return;
    }
    dump_.arrays.push_back({name, kind, sequence, layer, tensor, rows, cols});
  }

  void add_layer_array(const std::string& name, DumpKind kind, int sequence, int layer) {
    if (layer >= args_.num_hidden_layers) {
      report(name, fmt::format("expected a layer from 0 to {}, as the model has {}, got {}",
                               args_.num_hidden_layers - 1, args_.num_hidden_layers, layer));
      return;
    }
    const auto T = static_cast<std::int64_t>(dump_.sequences[static_cast<std::size_t>(sequence)].tokens.size());
    const std::vector<std::int64_t> expected = shape_of(kind, args_, layer, T), &shape = dump_.file.at(name).shape;
    if (expected.empty()) {
      report(name, fmt::format("expected no such array: the model's layer {} is {}{}", layer,
                               args_.is_kda(layer) ? "KDA" : "MLA", args_.is_moe(layer) ? ", MoE" : ", dense"));
    } else if (shape != expected) {
      report(name, fmt::format("expected shape {}, got {}", shape_text(expected), shape_text(shape)));
    } else {
      const std::int64_t cols = kind == DumpKind::kKdaState ? expected[1] * expected[2] : expected.back();
      const std::int64_t rows = kind == DumpKind::kConvState ? expected[0] * expected[1] : expected[0];
      add(name, kind, sequence, layer, rows, cols);
    }
  }

  /// Logits at all positions, at those `positions` names, or one row: at the last.
  void add_logits(int s) {
    DumpSequence& sequence = dump_.sequences[static_cast<std::size_t>(s)];
    const auto T = static_cast<std::int64_t>(sequence.tokens.size());
    const std::string* name = find(s, -1, "logits");
    if (name == nullptr) {
      report(s == 0 ? "logits" : fmt::format("logits.{}", s), "expected logits for every sequence of tokens, got none");
      return;
    }
    const std::vector<std::int64_t>& shape = dump_.file.at(*name).shape;
    if (shape.size() == 2 && shape[1] != args_.vocab_size) {
      report(*name, fmt::format("expected {} columns, the model's vocabulary, got {}", args_.vocab_size, shape[1]));
      return;
    }
    if (const std::string* positions = find(s, -1, "positions")) {
      sequence.positions = vector_of(*positions).value_or(std::vector<std::int64_t>());
      const auto& p = sequence.positions;
      if (p.empty() || p.front() < 0 || p.back() >= T ||
          std::adjacent_find(p.begin(), p.end(), std::greater_equal()) != p.end()) {
        report(*positions, fmt::format("expected ascending positions from 0 to {}", T - 1));
        return;
      }
    } else if (!shape.empty() && shape[0] == 1) {
      sequence.positions = {T - 1};
    } else {
      sequence.positions.resize(static_cast<std::size_t>(T));
      std::iota(sequence.positions.begin(), sequence.positions.end(), 0);
    }
    const std::vector<std::int64_t> expected{static_cast<std::int64_t>(sequence.positions.size()), args_.vocab_size};
    if (shape != expected) {
      report(*name, fmt::format("expected shape {}, got {}", shape_text(expected), shape_text(shape)));
      return;
    }
    add(*name, DumpKind::kLogits, s, -1, expected[0], expected[1]);
  }

  void read_precision() {
    const std::string* logits = find(0, -1, "logits");
    const std::string dtype = logits ? dump_.file.at(*logits).dtype : "F32";
    dump_.precision = dtype == "BF16" || dtype == "F16" ? Precision::kBf16 : Precision::kF32;
    dump_.is_precision_declared = dtype != "F32";
    const auto it = dump_.file.metadata().find("dtype");
    if (it == dump_.file.metadata().end()) return;
    dump_.is_precision_declared = true;
    if (it->second == "float32" || it->second == "float64") {
      dump_.precision = Precision::kF32;
    } else if (it->second == "bfloat16" || it->second == "float16") {
      dump_.precision = Precision::kBf16;
    } else {
      report("__metadata__", "dtype: expected float64, float32, bfloat16 or float16, got " + printable(it->second));
    }
  }

  Dump& dump_;
  const ModelArgs& args_;
  Problems& problems_;
  std::map<std::tuple<int, int, std::string>, std::string> named_;  // (sequence, layer, what) -> name
};

}  // namespace

void DumpArray::read_row(std::int64_t row, std::span<double> out) const {
  const NumberType type = *parse_number_type(tensor.dtype);
  read_numbers(type, tensor.data + static_cast<std::size_t>(row * cols) * size_of(type), out.size(), out.data());
}

Dump read_dump(const fs::path& path, const ModelArgs& args) {
  Dump dump{SafetensorsFile(path), {}, {}, {}, Precision::kF32, false};
  Problems problems;
  Reader(dump, args, problems).read();
  if (problems.lines().size() == 1) throw Error(problems.code(), problems.lines().front());
  problems.throw_if_any(path.string());
  std::stable_sort(dump.arrays.begin(), dump.arrays.end(), [&](const DumpArray& a, const DumpArray& b) {
    const auto key = [&](const DumpArray& x) {
      return std::tuple(x.layer < 0 ? args.num_hidden_layers : x.layer, x.kind);
    };
    return key(a) < key(b);
  });
  return dump;
}

}  // namespace kl

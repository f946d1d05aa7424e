#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "kl/inspect.h"
#include "kl/verify.h"
#include "packing/packed_name.h"
#include "verify/dump.h"
#include "verify/judge.h"
#include "verify/measurement.h"
#include "verify/switches.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

constexpr double kBetter = 0.9;  // a switch that takes less than a tenth off the difference explains nothing

constexpr double kNearer = 0.7;  // what bf16 leaves to chance is less than the rest

/// Which switch of each group is on: index into the group, -1 = none.
using Choice = std::vector<int>;

/// Looks for the switches that make the model agree with a dump.
class Search {
 public:
  Search(const fs::path& dir, const Dump& dump, const ModelArgs& args, const ParityOptions& options,
         ParityReport& report)
      : dir_(dir), dump_(dump), num_layers_(args.num_hidden_layers), options_(options), report_(report) {}

  void run(std::vector<SwitchGroup> groups) {
    groups_ = std::move(groups);
    const Choice none(groups_.size(), -1);
    if (!at(none).agrees && options_.try_switches) {
      const Choice found = descend(none);
      if (report_.answer < 0) try_all_conventions();
      if (report_.answer >= 0 && at(found).agrees) drop_needless(found);
    } else if (at(none).agrees) {
      report_.answer = 0;
      if (report_.precision == Precision::kBf16 && options_.try_switches) look_nearer(none);
    }
    if (report_.answer < 0) add_hint();
  }

 private:
  const ParityRun& at(const Choice& choice) {
    const auto it = done_.find(choice);
    if (it != done_.end()) return report_.runs[it->second];
    ModelOptions engine = options_.engine;
    std::vector<std::string> flags;
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      if (choice[g] < 0) continue;
      const Switch& on = groups_[g][static_cast<std::size_t>(choice[g])];
      on.apply(engine);
      flags.push_back(on.flag);
    }
    const std::string what = flags.empty() ? "computing" : fmt::format("trying {}", fmt::join(flags, " "));
    const auto measured = measure(dir_, engine, dump_, what, options_.progress);
    ParityRun run = judge(measured, dump_, report_.precision, num_layers_);
    run.switches = std::move(flags);
    if (report_.precision == Precision::kF32) {
      agrees_as_bf16_.push_back(judge(measured, dump_, Precision::kBf16, num_layers_).agrees);
    }
    done_[choice] = report_.runs.size();
    report_.runs.push_back(std::move(run));
    return report_.runs.back();
  }

  /// Takes, again and again, the one switch that helps most, until one agrees or none helps.
  Choice descend(Choice choice) {
    while (true) {
      std::optional<Choice> best;
      for (std::size_t g = 0; g < groups_.size(); ++g) {
        if (choice[g] >= 0) continue;
        for (std::size_t s = 0; s < groups_[g].size(); ++s) {
          Choice next = choice;
          next[g] = static_cast<int>(s);
          at(next);
          if (is_better(next, best ? *best : choice)) best = next;
        }
      }
      if (!best) return choice;
      choice = *best;
      if (at(choice).agrees) {
        answer_with(choice);
        return choice;
      }
    }
  }

  /// Further into the computation before anything differs, or as far with a smaller difference.
  bool is_better(const Choice& a, const Choice& b) {
    const auto depth = [&](const Choice& c) {
      const ParityRun& run = at(c);
      const ArrayComparison* first = run.first_deviation();
      return first == nullptr ? static_cast<std::ptrdiff_t>(run.arrays.size()) : first - run.arrays.data();
    };
    const std::ptrdiff_t depth_a = depth(a), depth_b = depth(b);
    return depth_a != depth_b ? depth_a > depth_b : at(a).relative < kBetter * at(b).relative;
  }

  /// Conventions in every combination: taking them one by one can lead astray where two errors cancel.
  void try_all_conventions() {
    const auto is_convention = [](const SwitchGroup& group) {
      const std::string& flag = group.front().flag;
      return flag.starts_with("--router") || flag.ends_with("-eps") || flag.find("-eps ") != std::string::npos;
    };
    std::vector<Choice> all{Choice(groups_.size(), -1)};
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      if (!is_convention(groups_[g])) continue;
      for (std::size_t n = all.size(), i = 0; i < n; ++i) {
        for (std::size_t s = 0; s < groups_[g].size(); ++s) {
          all.push_back(all[i]);
          all.back()[g] = static_cast<int>(s);
        }
      }
    }
    for (const Choice& choice : all) {
      if (!at(choice).agrees) continue;
      answer_with(choice);
      return;
    }
  }

  /// A switch taken early may have become needless.
  void drop_needless(Choice choice) {
    for (int& on : choice) {
      if (on < 0) continue;
      const int kept = std::exchange(on, -1);
      if (!at(choice).agrees) on = kept;
    }
    answer_with(choice);
  }

  /// Within the wide budget of bf16 a convention may go unseen: says so if one comes clearly nearer.
  void look_nearer(const Choice& none) {
    const ParityRun* nearest = nullptr;
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      for (std::size_t s = 0; s < groups_[g].size(); ++s) {
        Choice next = none;
        next[g] = static_cast<int>(s);
        at(next);
      }
    }
    const double asked = at(none).relative;
    for (const ParityRun& run : report_.runs) {
      if (run.relative < (nearest ? nearest->relative : kNearer * asked)) nearest = &run;
    }
    if (nearest == nullptr) return;
    report_.hint = fmt::format("nearer with {}: {:.2g} of the largest logit in the middle position instead of {:.2g}",
                               fmt::join(nearest->switches, " "), nearest->relative, asked);
  }

  void answer_with(const Choice& choice) { report_.answer = static_cast<int>(done_.at(choice)); }

  void add_hint() {
    if (report_.precision != Precision::kF32 || dump_.is_precision_declared) return;
    for (std::size_t r = 0; r < agrees_as_bf16_.size(); ++r) {
      if (!agrees_as_bf16_[r]) continue;
      const auto& flags = report_.runs[r].switches;
      report_.hint = fmt::format(
          "what is left{}{} is no more than rounding to bf16 explains: if the other program computed so, "
          "--precision bf16 holds it to that",
          flags.empty() ? "" : " with ", fmt::join(flags, " "));
      return;
    }
  }

  const fs::path& dir_;
  const Dump& dump_;
  int num_layers_;
  const ParityOptions& options_;
  ParityReport& report_;
  std::vector<SwitchGroup> groups_;
  std::map<Choice, std::size_t> done_;  // index into report_.runs
  std::vector<bool> agrees_as_bf16_;    // as report_.runs, of f32 dumps
};

/// Are there matrices for which Compute::kAuto is not kF32?
bool has_quantised_weights(const ModelReport& report) {
  return std::any_of(report.dtypes.begin(), report.dtypes.end(),
                     [](const auto& d) { return parse_packed_suffix(d.first); });
}

}  // namespace

ParityReport compare_with_dump(const fs::path& dir, const fs::path& path, const ParityOptions& options) {
  const ModelArgs args = ModelArgs::load(dir);
  const Dump dump = read_dump(path, args);
  ParityReport report;
  report.dump = path.string();
  report.precision = options.precision == Precision::kAuto ? dump.precision : options.precision;
  report.budget_reason = budget_reason(report.precision);
  report.sequences = static_cast<std::int64_t>(dump.sequences.size());
  for (const DumpSequence& sequence : dump.sequences)
    report.tokens += static_cast<std::int64_t>(sequence.tokens.size());
  report.ignored = dump.ignored;
  Search search(dir, dump, args, options, report);
  search.run(switches_for(args, has_quantised_weights(inspect(dir)), options.engine));
  return report;
}

}  // namespace kl

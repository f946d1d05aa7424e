#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "kl/options.h"

namespace kl {

// --- is the folder what it was, and can its numbers be right? -----------------------------------------------------------

/// What a finding is about.
enum class FindingRule : std::uint8_t {
  kStructure,  ///< configuration, headers, names, shapes: what inspect() finds
  kChecksum,   ///< a file is not what SHA256SUMS says, or SHA256SUMS itself is broken
  kMissing,    ///< SHA256SUMS names a file that is not there
  kExtra,      ///< a file that SHA256SUMS does not name
  kNotFinite,  ///< NaN or infinity
  kZero,       ///< nothing but zeros
  kEqual,      ///< one number over and over
  kHuge,       ///< a number no weight of this family reaches
  kOutlier,    ///< one number far beyond the rest of its tensor
  kPeers,      ///< far larger or smaller than the same tensor of other layers or experts
  kDuplicate,  ///< the same bytes as another tensor, such as one expert twice
};

/// "checksum": the word of --json.
const char* name_of(FindingRule rule);

/// One thing that is wrong, or looks wrong.
struct Finding {
  FindingRule rule;
  std::string file;    ///< without the folder; empty if it is about the folder
  std::string tensor;  ///< "model.norm.weight", "mlp.experts.down_proj[7]"; empty if it is about a file
  std::string text;    ///< "expected X, got Y", with the numbers
  bool is_problem;     ///< false: the model runs, but something looks wrong
};

/// How to look at a folder, or write its checksums.
struct IntegrityOptions {
  int threads = 0;    ///< 0 = one per core this process may use
  Progress progress;  ///< counts bytes, and is called about ten times a second
};

/// What verify_integrity() looked at and found.
struct IntegrityReport {
  std::string path;
  bool has_checksums = false;
  std::int64_t files_hashed = 0, bytes_hashed = 0;
  std::int64_t tensors = 0, bytes_scanned = 0;
  std::vector<Finding> findings;  ///< problems first
  std::vector<std::string> notes;

  std::int64_t num_problems() const;  ///< findings with is_problem
};

/// Examines a model folder: its files against SHA256SUMS if it has one, its structure as inspect() does, every number for NaN
/// and infinity (of packed weights scales and minima), and the statistics of every tensor.
///
/// Each byte is read once or twice, by all threads, in the order of the files; memory stays small.
/// What is wrong is reported; only lack of memory throws, and options.progress.
IntegrityReport verify_integrity(const std::filesystem::path& path, const IntegrityOptions& options = {});

/// What write_checksums() wrote.
struct ChecksumResult {
  std::int64_t files = 0, bytes = 0;
};

/// Hashes every file of a folder, those in folders inside it included, and writes `SHA256SUMS` as sha256sum would.  Left out
/// are names that begin with a dot, and the file itself, which appears complete or not at all.
/// Throws Error: kNotFound (folder, a file), kCannotWrite, and whatever options.progress throws.
ChecksumResult write_checksums(const std::filesystem::path& dir, const IntegrityOptions& options = {});

// --- does it compute what another program computes? ---------------------------------------------------------------------

/// In what arithmetic the other program computed: decides how much it may differ.
enum class Precision : std::uint8_t { kAuto, kF32, kBf16 };

/// How to compare.
struct ParityOptions {
  ModelOptions engine;
  Precision precision = Precision::kAuto;  ///< kAuto: what the dump says, else by the type of its logits
  bool try_switches = true;                ///< if it does not agree, look for the switches that explain it
  Progress progress;                       ///< counts tokens, and is called after each pass
};

/// One array of the dump beside what kl computes.
struct ArrayComparison {
  std::string name;  ///< as the dump spells it
  int sequence = 0;
  int layer = -1;         ///< -1 = logits
  double difference = 0;  ///< largest absolute one; infinite if either side has no number there
  double relative = 0;    ///< largest of difference / scale of its row
  double budget = 0;      ///< of `relative`
  bool agrees = true;
  std::string row_kind;   ///< what `row` counts: "position", "head", "row"
  std::int64_t row = -1;  ///< first one beyond the budget; -1 = none
  std::string text;       ///< what is wrong there, with numbers; empty if it agrees
};

/// The model under one set of switches beside the dump.
struct ParityRun {
  std::vector<std::string> switches;  ///< flags of `kl logits` beside those given: "--kv-a-eps 1e-5"; empty = as asked
  bool agrees = false;
  double difference = 0;                ///< largest of the logits
  double relative = 0;                  ///< largest of the logits' relative ones
  std::vector<ArrayComparison> arrays;  ///< in the order of computation

  /// The first array beyond its budget, nullptr if it agrees.
  const ArrayComparison* first_deviation() const;
};

/// What compare_with_dump() found.
struct ParityReport {
  std::string dump;
  Precision precision = Precision::kF32;
  std::string budget_reason;
  std::int64_t sequences = 0, tokens = 0;
  std::vector<std::string> ignored;  ///< arrays of the dump that are not compared
  std::vector<ParityRun> runs;       ///< the first as asked, then those tried
  int answer = -1;   ///< index into runs of one that agrees: with the fewest switches, of these the closest
  std::string hint;  ///< what else there is to say: bf16 might explain it, a switch comes nearer; may be empty
};

/// Runs the tokens of a dump (docs/verify.md has the format) and compares logits, and layers where the dump has them.  If
/// they differ, the known differences between implementations are tried one by one and together.
/// Throws what Model::open throws, and Error(kCorrupt, kNotFound, kUnsupported) naming the dump's file, array and rule.
ParityReport compare_with_dump(const std::filesystem::path& dir, const std::filesystem::path& dump,
                               const ParityOptions& options = {});

}  // namespace kl

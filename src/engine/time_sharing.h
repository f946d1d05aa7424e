#pragma once
#include <algorithm>
#include <cstdint>

namespace kl {

/// Divides the engine's time between those who decode and those whose prompts are read.
///
/// While somebody decodes, reading takes as much time as decoding and no more: a step that also reads part of a prompt
/// and so takes longer by some time is followed by steps that only decode for as long.  Then a decoding text gets a
/// token in at most twice the time of a quiet machine on average, and none waits longer than one piece takes.
///
/// Times are measured; nothing here changes a result, only when it comes.
class TimeSharing {
 public:
  /// `piece_seconds`: how long the part of a prompt read in one step may take while somebody decodes.
  explicit TimeSharing(double piece_seconds) : piece_seconds_(piece_seconds) {}

  /// May a step that decodes also read?
  bool may_read() const { return debt_ <= 0; }

  /// Tokens of prompts to read in such a step.
  std::int64_t piece_tokens(std::int64_t most) const { return tokens_in(piece_seconds_, most); }

  /// The same where nobody decodes: more is faster, but somebody may come, and whoever leaves should be noticed.
  std::int64_t piece_tokens_alone(std::int64_t most) const { return tokens_in(kAloneSeconds, most); }

  /// A step took `seconds`: it read so many tokens of prompts and decoded so many texts.
  void record(double seconds, std::int64_t read, std::int64_t decoded) {
    if (read == 0 && decoded > 0) {
      decode_seconds_ = smooth(decode_seconds_, seconds);
      debt_ = std::max(0.0, debt_ - seconds);
    } else if (read > 0) {
      const double reading = std::max(0.0, seconds - (decoded > 0 ? decode_seconds_ : 0.0));
      read_seconds_ = smooth(read_seconds_, reading / static_cast<double>(read));
      debt_ = decoded > 0 ? debt_ + reading : 0.0;
    }
  }

 private:
  static constexpr std::int64_t kFirstPiece = 64;  // before anything was measured
  static constexpr double kAloneSeconds = 3;

  std::int64_t tokens_in(double seconds, std::int64_t most) const {
    if (read_seconds_ <= 0) return std::min(most, kFirstPiece);
    return std::clamp<std::int64_t>(static_cast<std::int64_t>(seconds / read_seconds_), 1, most);
  }
  static double smooth(double old, double now) { return old <= 0 ? now : 0.8 * old + 0.2 * now; }

  const double piece_seconds_;
  double read_seconds_ = 0;    // per token of a prompt
  double decode_seconds_ = 0;  // of a step that only decodes
  double debt_ = 0;            // seconds that decoding texts waited for readers and have not got back
};

}  // namespace kl

#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace kl {

/// A model folder in the making, which a later run can continue.
///
/// How       `.kl-unfinished` in the folder says what is being made (the job) and which files of weights are complete, with their
///           SHA-256.  A run that finds the same job there keeps the files that still have these sums.  The folder is locked
///           meanwhile, so two runs cannot meet in it.
/// State     Unless finish() is called the destructor takes everything back, but only if no file of weights is complete or
///           give_up() was called: what took long stays.
class ResumableFolder {
 public:
  /// `job`: a JSON object; equal jobs write equal files.
  /// Throws Error(kCannotWrite) if the folder is in use, holds another job, or cannot be made.
  ResumableFolder(const std::filesystem::path& dir, std::string job);
  ~ResumableFolder();
  ResumableFolder(const ResumableFolder&) = delete;
  ResumableFolder& operator=(const ResumableFolder&) = delete;

  /// Throws Error(kCannotWrite) if the disk has fewer bytes left.
  void require_space(std::int64_t bytes) const;

  /// Is this file there, as an earlier run completed it?  Reads all of it.
  bool has(const std::string& file);

  /// The path of a file that belongs to the folder's contents.
  std::filesystem::path add(const std::string& file);

  /// Remembers that a file of weights is complete.
  void record(const std::string& file, const std::string& sha256);

  /// SHA-256 of every file of weights.
  const std::map<std::string, std::string>& complete() const { return complete_; }

  void give_up() { is_given_up_ = true; }
  void finish();

 private:
  void make_or_lock();
  void read_journal();
  void remove_leftovers() const;
  void take_back();

  std::filesystem::path dir_;
  std::string job_;
  UniqueFd lock_;
  std::vector<std::string> files_;
  std::vector<std::filesystem::path> created_;   // folders, the innermost first
  std::map<std::string, std::string> complete_;  // digests
  bool is_given_up_ = false, is_finished_ = false;
};

}  // namespace kl

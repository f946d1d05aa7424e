#include "base/output_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "tests/support/error_of.h"
#include "tests/support/temp_dir.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

std::size_t num_files(const fs::path& dir) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(dir), fs::directory_iterator()));
}

TEST(OutputFile, AppearsOnlyWhenCommitted) {
  const TempDir dir;
  {
    OutputFile file(dir / "a");
    file.write("hello", 5);
    EXPECT_FALSE(fs::exists(dir / "a"));
    file.commit();
    EXPECT_EQ(get_bytes(dir / "a"), "hello");
  }
  EXPECT_EQ(num_files(dir.path()), 1u);
}

TEST(OutputFile, LeavesNothingWhenAbandonedAndKeepsTheOldFile) {
  const TempDir dir;
  put_bytes(dir / "a", "old");
  {
    OutputFile file(dir / "a");
    file.write("new", 3);
  }
  EXPECT_EQ(get_bytes(dir / "a"), "old");
  EXPECT_EQ(num_files(dir.path()), 1u);
}

TEST(OutputFile, WritesPiecesOfAnySizeInOrder) {
  const TempDir dir;
  std::string expected;
  OutputFile file(dir / "a");
  for (const std::size_t size : {1u, 0u, 1'000'000u, 100'000u, 3'000'000u, 7u}) {
    const std::string piece(size, static_cast<char>('a' + size % 26));
    file.write(piece.data(), piece.size());
    expected += piece;
  }
  file.commit();
  EXPECT_TRUE(get_bytes(dir / "a") == expected);
}

TEST(OutputFile, SaysWhyItCannotWrite) {
  const TempDir dir;
  const ErrorSeen missing = error_of([&] { OutputFile file(dir / "no/such/folder"); });
  EXPECT_EQ(missing.code, ErrorCode::kCannotWrite);
  EXPECT_TRUE(missing.mentions("no/such/folder: expected to write a file, got No such file")) << missing.message;

  fs::create_directory(dir / "d");
  const ErrorSeen folder = error_of([&] { OutputFile file(dir / "d"); });
  EXPECT_EQ(folder.code, ErrorCode::kCannotWrite);

  const ErrorSeen device = error_of([] { OutputFile file("/dev/full"); });
  EXPECT_EQ(device.code, ErrorCode::kCannotWrite) << "must not replace a device by a file";
}

TEST(OutputFile, FollowsALinkInsteadOfReplacingIt) {
  const TempDir dir;
  put_bytes(dir / "real", "old");
  fs::create_symlink(dir / "real", dir / "link");
  write_file(dir / "link", "new");
  EXPECT_TRUE(fs::is_symlink(dir / "link"));
  EXPECT_EQ(get_bytes(dir / "real"), "new");
}

TEST(OutputFile, RemovesEverythingWhenTheDiskIsFull) {
  const TempDir dir;
  // A file-size limit makes write() fail like a full disk does.
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = old;
  small.rlim_cur = 1'500'000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const ErrorSeen seen = error_of([&] {
    OutputFile file(dir / "a");
    const std::string piece(400'000, 'x');
    for (int i = 0; i < 10; ++i) file.write(piece.data(), piece.size());
    file.commit();
  });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(seen.code, ErrorCode::kCannotWrite);
  EXPECT_TRUE(seen.mentions("File too large")) << seen.message;
  EXPECT_EQ(num_files(dir.path()), 0u);
}

}  // namespace
}  // namespace kl

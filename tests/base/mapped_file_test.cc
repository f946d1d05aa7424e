#include "base/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/output_file.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_dir.h"

namespace kl {
namespace {

namespace fs = std::filesystem;

TEST(MappedFile, ShowsTheBytesOfTheFile) {
  const TempDir dir;
  put_bytes(dir / "a", "hello");
  put_bytes(dir / "empty", "");
  const MappedFile file(dir / "a");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file.data()), file.size()), "hello");
  EXPECT_EQ(MappedFile(dir / "empty").size(), 0u);
}

TEST(MappedFile, RefusesWhatIsNoRegularFile) {
  const TempDir dir;
  fs::create_directory(dir / "folder");
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
  fs::create_symlink(dir / "nowhere", dir / "dangling");
  for (const char* name : {"missing", "folder", "fifo", "dangling"}) {
    const ErrorSeen seen = error_of([&] { MappedFile file(dir / name); });
    EXPECT_EQ(seen.code, ErrorCode::kNotFound) << name;
    EXPECT_TRUE(seen.mentions((dir / name).string())) << seen.message;
  }
}

TEST(MappedFile, RecognisesGitLfsPointers) {
  const TempDir dir;
  put_bytes(dir / "a", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n");
  const ErrorSeen seen = error_of([&] { MappedFile file(dir / "a"); });
  EXPECT_EQ(seen.code, ErrorCode::kCorrupt);
  EXPECT_TRUE(seen.mentions("git lfs pull")) << seen.message;
}

TEST(MappedFileDeathTest, TruncationWhileMappedEndsWithAMessageAndStatus3) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const TempDir dir;
  put_bytes(dir / "a", std::string(100'000, 'x'));
  EXPECT_EXIT(
      {
        const MappedFile file(dir / "a");
        fs::resize_file(dir / "a", 10);
        const volatile std::byte lost = file.data()[90'000];
        static_cast<void>(lost);
      },
      testing::ExitedWithCode(3), "kl-test-.*/a: could not be read any more");
}

TEST(MappedFileDeathTest, TruncationWhileMappedLeavesNoUnfinishedFile) {
  GTEST_FLAG_SET(death_test_style, "fast");  // the child must see this folder
  const TempDir dir;
  put_bytes(dir / "a", std::string(100'000, 'x'));
  EXPECT_EXIT(
      {
        const OutputFile output(dir / "out");
        const MappedFile file(dir / "a");
        fs::resize_file(dir / "a", 10);
        const volatile std::byte lost = file.data()[90'000];
        static_cast<void>(lost);
      },
      testing::ExitedWithCode(3), "could not be read any more");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator()), 1);
}

}  // namespace
}  // namespace kl

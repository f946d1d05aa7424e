#include "kernels/select.h"

#include <cstdlib>
#include <optional>

#include "kl/error.h"
#include "tests/support/isa.h"

namespace kl::test {
namespace {

/// $KL_ISA for the length of a test.
class ForcedIsa {
 public:
  explicit ForcedIsa(const char* name) {
    if (const char* old = std::getenv("KL_ISA")) old_ = old;
    name ? setenv("KL_ISA", name, 1) : unsetenv("KL_ISA");
  }
  ~ForcedIsa() { old_ ? setenv("KL_ISA", old_->c_str(), 1) : unsetenv("KL_ISA"); }

 private:
  std::optional<std::string> old_;
};

TEST(Select, ReferenceIsAlwaysAvailableAndLast) {
  ASSERT_FALSE(available_kernels().empty());
  EXPECT_EQ(available_kernels().back(), &reference::kernels);
}

TEST(Select, BestTableIsTheDefault) {
  const ForcedIsa none(nullptr);
  EXPECT_EQ(&select_kernels(), available_kernels().front());
  const ForcedIsa empty("");
  EXPECT_EQ(&select_kernels(), available_kernels().front());
}

TEST(Select, ForcedTableIsTheActiveOne) {
  for (const Kernels* table : available_kernels()) {
    const ForcedIsa forced(table->isa);
    EXPECT_EQ(&select_kernels(), table);
    EXPECT_STREQ(select_kernels().isa, table->isa);
  }
}

TEST(Select, ArgumentBeatsTheEnvironment) {
  const ForcedIsa forced("reference");
  for (const Kernels* table : available_kernels()) EXPECT_EQ(&select_kernels(table->isa), table);
}

TEST(Select, UnknownNameIsAnErrorThatListsTheChoices) {
  const ForcedIsa forced("sse9");
  try {
    select_kernels();
    FAIL() << "accepted sse9";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    const std::string message = error.what();
    EXPECT_EQ(message.find("KL_ISA: expected one of"), 0u) << message;
    EXPECT_NE(message.find("got 'sse9'"), std::string::npos) << message;
    for (const Kernels* table : available_kernels()) EXPECT_NE(message.find(table->isa), std::string::npos) << message;
  }
  EXPECT_THROW(select_kernels("AVX2"), Error);
}

TEST(Select, EveryTableIsComplete) {
  for_each_table([](const Kernels& k) {
    EXPECT_TRUE(k.isa && k.supported && k.weight_row && k.quantize_row && k.matmul && k.matmul_transposed &&
                k.rms_norm && k.add && k.silu_mul && k.short_conv && k.kda_prepare && k.kda_recurrence &&
                k.gated_rms_norm && k.route && k.store_latent && k.load_latents && k.moe_combine && k.pack_lanes &&
                k.attend && k.pair_rows && k.matmul_bf16 && k.attend_bf16 && k.attend_merge && k.attend_finish &&
                k.token_masses);
    EXPECT_TRUE(k.supported());
  });
}

}  // namespace
}  // namespace kl::test

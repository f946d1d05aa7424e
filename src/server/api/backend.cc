#include "server/api/backend.h"

namespace kl {
namespace {

class EngineBackend final : public Backend {
 public:
  explicit EngineBackend(Engine& engine) : engine_(engine) {}
  std::unique_ptr<Generation> submit(EngineRequest request, std::function<void()> notify) override {
    return engine_.submit(std::move(request), std::move(notify));
  }
  std::vector<SlotInfo> slots() const override { return engine_.slots(); }
  Engine::SavedSession save_slot(int slot, const std::filesystem::path& file) override {
    return engine_.save_slot(slot, file);
  }
  Engine::SavedSession restore_slot(int slot, const std::filesystem::path& file) override {
    return engine_.restore_slot(slot, file);
  }
  std::int64_t erase_slot(int slot) override { return engine_.erase_slot(slot); }
  const EngineOptions& options() const override { return engine_.options(); }
  const ModelArgs& args() const override { return engine_.args(); }

 private:
  Engine& engine_;
};

}  // namespace

std::unique_ptr<Backend> make_backend(Engine& engine) { return std::make_unique<EngineBackend>(engine); }

}  // namespace kl

#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "kl/engine.h"

namespace kl {

/// What the endpoints need of an engine: the seam at which tests put a script in its place.
/// All methods may be called from any thread; they do and throw what the methods of Engine do.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::unique_ptr<Generation> submit(EngineRequest request, std::function<void()> notify) = 0;
  virtual std::vector<SlotInfo> slots() const = 0;
  virtual Engine::SavedSession save_slot(int slot, const std::filesystem::path& file) = 0;
  virtual Engine::SavedSession restore_slot(int slot, const std::filesystem::path& file) = 0;
  virtual std::int64_t erase_slot(int slot) = 0;
  virtual const EngineOptions& options() const = 0;
  virtual const ModelArgs& args() const = 0;
};

/// The engine itself, which must outlive the result.
std::unique_ptr<Backend> make_backend(Engine& engine);

}  // namespace kl

// Owns a COM reference.
#ifndef CLR_HOST_MEMORY_COM_REFERENCE_H
#define CLR_HOST_MEMORY_COM_REFERENCE_H

#include <utility>

namespace clr_host_memory {

// Owns one COM reference. Move-only, so that no reference is copied by accident.
template <typename Interface>
class ComReference {
 public:
  ComReference() = default;
  // Takes ownership of the caller's reference.
  explicit ComReference(Interface* owned) noexcept : object_(owned) {}
  ComReference(ComReference&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  ComReference& operator=(ComReference&& other) noexcept {
    if (this != &other) {
      Reset();
      object_ = std::exchange(other.object_, nullptr);
    }
    return *this;
  }
  ComReference(const ComReference&) = delete;
  ComReference& operator=(const ComReference&) = delete;
  ~ComReference() { Reset(); }

  [[nodiscard]] Interface* get() const noexcept { return object_; }
  Interface* operator->() const noexcept { return object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }
  // For out parameters. Releases the held reference first.
  [[nodiscard]] Interface** Receive() noexcept {
    Reset();
    return &object_;
  }
  [[nodiscard]] Interface* Detach() noexcept { return std::exchange(object_, nullptr); }
  void Reset() noexcept {
    if (object_ != nullptr) std::exchange(object_, nullptr)->Release();
  }

 private:
  Interface* object_ = nullptr;
};

}  // namespace clr_host_memory

#endif  // CLR_HOST_MEMORY_COM_REFERENCE_H

// The result of a C++ function that can fail.
#ifndef CLR_HOST_MEMORY_RESULT_H
#define CLR_HOST_MEMORY_RESULT_H

#include <clr_host_memory/hosting_abi.h>

#include <string>
#include <utility>

namespace clr_host_memory {

// A value, or the HRESULT and the reason of the failure: an English sentence that says what to change.
template <typename Value>
class [[nodiscard]] Result {
 public:
  Result(Value value) : value_(std::move(value)), code_(S_OK) {}
  Result(HRESULT code, std::string reason) : code_(code), reason_(std::move(reason)) {}

  explicit operator bool() const noexcept { return SUCCEEDED(code_); }
  [[nodiscard]] HRESULT code() const noexcept { return code_; }
  [[nodiscard]] const std::string& reason() const noexcept { return reason_; }
  Value& operator*() & noexcept { return value_; }
  Value&& operator*() && noexcept { return std::move(value_); }
  Value* operator->() noexcept { return &value_; }

 private:
  Value value_{};
  HRESULT code_;
  std::string reason_;
};

}  // namespace clr_host_memory

#endif  // CLR_HOST_MEMORY_RESULT_H

// Result<T>: what each C++ function that can fail returns. Its names are those of std::expected.
#ifndef CLR_HOST_MEMORY_RESULT_H
#define CLR_HOST_MEMORY_RESULT_H

#include <clr_host_memory/hosting_abi.h>

#include <cstdlib>
#include <exception>
#include <optional>
#include <string>
#include <utility>

namespace clr_host_memory {

// The HRESULT of a failure, and its reason: an English sentence in UTF-8 that says what to do. An exception type, for
// hosts that use exceptions: Result::value() throws it, and no other function of the library does.
class Error final : public std::exception {
 public:
  Error() = default;  // no failure: S_OK and an empty reason
  // code is a failure code. reason is a text that is never freed, such as a literal.
  Error(HRESULT code, const char* reason) noexcept : code_(code), reason_(reason) {}
  // Owns reason.
  Error(HRESULT code, std::string reason) noexcept : code_(code), owned_reason_(std::move(reason)) {}

  [[nodiscard]] HRESULT code() const noexcept { return code_; }
  // Returns a text that is valid as long as this object.
  [[nodiscard]] const char* reason() const noexcept { return reason_ != nullptr ? reason_ : owned_reason_.c_str(); }
  [[nodiscard]] const char* what() const noexcept override { return reason(); }

 private:
  HRESULT code_ = S_OK;
  const char* reason_ = nullptr;
  std::string owned_reason_;
};

template <typename Value>
class Result;

// Success, or the error. A function returns an error by `return Error(...)` or `return other.error()`.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) noexcept : error_(std::move(error)) {}

  [[nodiscard]] bool has_value() const noexcept { return SUCCEEDED(error_.code()); }
  explicit operator bool() const noexcept { return has_value(); }
  // Returns the error; its code is S_OK if there is none.
  [[nodiscard]] const Error& error() const noexcept { return error_; }
  // If there is an error, throws it. Without exceptions, ends the process.
  void value() const {
    if (has_value()) return;
#if defined(__cpp_exceptions)
    throw error_;
#else
    std::abort();
#endif
  }

 private:
  Error error_;
};

// A value, or the error. Moves if the value does. For has_value, operator bool and error see Result<void>.
template <typename Value>
class [[nodiscard]] Result : public Result<void> {
 public:
  Result(Value value) noexcept : value_(std::move(value)) {}
  Result(Error error) noexcept : Result<void>(std::move(error)) {}

  // If there is an error, throws it. Without exceptions, ends the process.
  [[nodiscard]] Value& value() & {
    Result<void>::value();
    return *value_;
  }
  [[nodiscard]] const Value& value() const& {
    Result<void>::value();
    return *value_;
  }
  [[nodiscard]] Value&& value() && {
    Result<void>::value();
    return *std::move(value_);
  }
  // For a result that has a value.
  [[nodiscard]] Value& operator*() & noexcept { return *value_; }
  [[nodiscard]] const Value& operator*() const& noexcept { return *value_; }
  [[nodiscard]] Value&& operator*() && noexcept { return *std::move(value_); }
  [[nodiscard]] Value* operator->() noexcept { return &*value_; }
  [[nodiscard]] const Value* operator->() const noexcept { return &*value_; }

 private:
  std::optional<Value> value_;
};

}  // namespace clr_host_memory

#endif  // CLR_HOST_MEMORY_RESULT_H

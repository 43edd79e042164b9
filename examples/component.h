// Starts a runtime through hostfxr, and finds methods of a managed component, as nethost's documentation shows.
#ifndef EXAMPLES_COMPONENT_H
#define EXAMPLES_COMPONENT_H

#include <string>

#include "hostfxr.h"

class Component {
 public:
  // component: the path of COMPONENT.DLL; COMPONENT.runtimeconfig.json is beside it. The type is Component.Component.
  explicit Component(const std::wstring& component) : file_(component) {
    const std::size_t slash = component.find_last_of(L"\\/");
    name_ = component.substr(slash == std::wstring::npos ? 0 : slash + 1);
    name_.resize(name_.rfind(L'.'));
  }
  // Returns whether the runtime has started.
  bool Start(const wchar_t* hostfxr_path) {
    HMODULE hostfxr = LoadLibraryExW(hostfxr_path, nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
    const auto initialize =
        Find<hostfxr_initialize_for_runtime_config_fn>(hostfxr, "hostfxr_initialize_for_runtime_config");
    const auto get_delegate = Find<hostfxr_get_runtime_delegate_fn>(hostfxr, "hostfxr_get_runtime_delegate");
    const auto close = Find<hostfxr_close_fn>(hostfxr, "hostfxr_close");
    if (initialize == nullptr || get_delegate == nullptr || close == nullptr) return false;
    const std::wstring config = file_.substr(0, file_.rfind(L'.')) + L".runtimeconfig.json";
    hostfxr_handle context = nullptr;
    if (initialize(config.c_str(), nullptr, &context) < 0) return false;
    void* found = nullptr;
    const int result = get_delegate(context, hdt_load_assembly_and_get_function_pointer, &found);
    close(context);
    load_ = reinterpret_cast<load_assembly_and_get_function_pointer_fn>(found);
    return result == 0;
  }
  // Returns a static method with [UnmanagedCallersOnly], or null.
  template <typename Function>
  Function Method(const wchar_t* method) const {
    const auto unmanaged_callers_only = reinterpret_cast<const wchar_t*>(static_cast<std::intptr_t>(-1));
    void* found = nullptr;
    const std::wstring type = name_ + L", " + name_;
    if (load_(file_.c_str(), type.c_str(), method, unmanaged_callers_only, nullptr, &found) != 0) return nullptr;
    return reinterpret_cast<Function>(found);
  }

 private:
  std::wstring file_;
  std::wstring name_;
  load_assembly_and_get_function_pointer_fn load_ = nullptr;
};

#endif  // EXAMPLES_COMPONENT_H

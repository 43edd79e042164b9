#include "bridge/patch/load_watch.h"

#include <array>
#include <atomic>
#include <mutex>

#include "os/windows/srw_lock.h"

namespace clr_host_memory {
namespace {

// Types of ntdll, as documented with LdrRegisterDllNotification; no header declares them.
struct NtString {
  USHORT length;  // bytes
  USHORT maximum_length;
  const wchar_t* text;
};
struct DllNotification {  // the same for both reasons
  ULONG flags;
  const NtString* full_name;
  const NtString* base_name;
  void* base;
  ULONG size_of_image;
};
constexpr ULONG kLoaded = 1;
using NotificationFunction = void(CALLBACK*)(ULONG reason, const DllNotification* data, void* context);
using RegisterFunction = LONG(NTAPI*)(ULONG flags, NotificationFunction function, void* context, void** cookie);
using UnregisterFunction = LONG(NTAPI*)(void* cookie);

struct Watch {
  LoadWatchCalls calls{};
  HANDLE loaded = nullptr;
  HANDLE stop = nullptr;
  HANDLE thread = nullptr;
  void* cookie = nullptr;
};
constinit SrwLock watch_lock;  // serialises starting and stopping
constinit Watch watch{};

template <typename Function>
Function OfNtdll(const char* name) noexcept {
  return reinterpret_cast<Function>(reinterpret_cast<void*>(GetProcAddress(GetModuleHandleW(L"ntdll.dll"), name)));
}

void CALLBACK OnDll(ULONG reason, const DllNotification* data, void* /*context*/) {
  if (reason != kLoaded || data->base_name == nullptr) return;
  const std::wstring_view name(data->base_name->text, data->base_name->length / sizeof(wchar_t));
  if (watch.calls.wanted(name, static_cast<HMODULE>(data->base))) SetEvent(watch.loaded);
}

DWORD WINAPI Attend(void* /*context*/) {
  const std::array<HANDLE, 2> handles = {watch.stop, watch.loaded};
  while (WaitForMultipleObjects(static_cast<DWORD>(handles.size()), handles.data(), FALSE, INFINITE) ==
         WAIT_OBJECT_0 + 1) {
    watch.calls.attend();
  }
  return 0;
}

void Close() noexcept {
  if (watch.cookie != nullptr) OfNtdll<UnregisterFunction>("LdrUnregisterDllNotification")(watch.cookie);
  if (watch.thread != nullptr) {
    SetEvent(watch.stop);
    WaitForSingleObject(watch.thread, INFINITE);
  }
  for (const HANDLE handle : {watch.thread, watch.loaded, watch.stop}) {
    if (handle != nullptr) CloseHandle(handle);
  }
  watch = {};
}

}  // namespace

HRESULT StartLoadWatch(const LoadWatchCalls& calls, std::string* reason) noexcept {
  std::unique_lock lock(watch_lock);
  HRESULT hr = S_OK;
  if (watch.thread == nullptr) {
    watch.calls = calls;
    watch.loaded = CreateEventW(nullptr, FALSE, FALSE, nullptr);
    watch.stop = CreateEventW(nullptr, TRUE, FALSE, nullptr);
    if (watch.loaded != nullptr && watch.stop != nullptr) {
      watch.thread = CreateThread(nullptr, 0, &Attend, nullptr, 0, nullptr);
    }
    if (watch.thread == nullptr) hr = HRESULT_FROM_WIN32(GetLastError());
    const auto add = OfNtdll<RegisterFunction>("LdrRegisterDllNotification");
    if (SUCCEEDED(hr) && (add == nullptr || add(0, &OnDll, nullptr, &watch.cookie) < 0)) {
      watch.cookie = nullptr;
      hr = HRESULT_FROM_WIN32(ERROR_NOT_SUPPORTED);
    }
    if (FAILED(hr)) Close();
  }
  lock.unlock();
  if (FAILED(hr))
    *reason =
        "Modules that are loaded later cannot be watched for: the system has no thread for it; free some and try "
        "again.";
  return hr;
}

void StopLoadWatchUnless(bool (*needed)() noexcept) noexcept {
  const std::lock_guard lock(watch_lock);
  if (!needed()) Close();
}

HMODULE HoldWhenLoaded(const std::wstring& path) noexcept {
  HMODULE held = nullptr;
  if (!GetModuleHandleExW(0, path.c_str(), &held)) return nullptr;
  // The reference keeps the module loaded, so LoadLibraryExW does not load it anew. LoadLibraryExW waits until the
  // thread that loads the module has resolved its imports and run its DllMain.
  const HMODULE loaded = LoadLibraryExW(path.c_str(), nullptr, 0);
  FreeLibrary(held);
  return loaded;
}

}  // namespace clr_host_memory

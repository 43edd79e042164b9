#include "os/windows/windows_thread_system.h"

#include <windows.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "os/windows/kept_last_error.h"

namespace clr_host_memory {
namespace {

// The start data of a new thread. The thread owns it once it runs.
struct Beginning {
  void (*run)(void* context);
  void* context;
  HMODULE module;  // with a reference that keeps it loaded; null: the program, which stays loaded
};

DWORD WINAPI ThreadMain(void* parameter);

[[nodiscard]] HMODULE ReferToOwnModule() {
  HMODULE module = nullptr;
  if (!::GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, reinterpret_cast<LPCWSTR>(&ThreadMain), &module)) {
    return nullptr;
  }
  return module == ::GetModuleHandleW(nullptr) ? nullptr : module;
}

// Names the thread for debuggers and profilers. Windows 10 1607 and later.
void NameOwnThread() {
  using SetThreadDescriptionFunction = HRESULT(WINAPI*)(HANDLE, PCWSTR);
  const auto set_description = reinterpret_cast<SetThreadDescriptionFunction>(
      reinterpret_cast<void*>(::GetProcAddress(::GetModuleHandleW(L"kernel32.dll"), "SetThreadDescription")));
  if (set_description != nullptr) set_description(::GetCurrentThread(), L"ClrHostMemory");
}

DWORD WINAPI ThreadMain(void* parameter) {
  HMODULE module = nullptr;
  {
    const std::unique_ptr<Beginning> beginning(static_cast<Beginning*>(parameter));
    module = beginning->module;
    NameOwnThread();
    beginning->run(beginning->context);
  }
  // The module may be unloaded after this, so there is no code to return to.
  if (module != nullptr) ::FreeLibraryAndExitThread(module, 0);
  return 0;
}

class WindowsThreads final : public ThreadSystem {
 public:
  Milliseconds Now() override { return Milliseconds{static_cast<Milliseconds::rep>(::GetTickCount64())}; }
  std::uint64_t CurrentThread() override { return ::GetCurrentThreadId(); }

  EventHandle MakeEvent() override { return ::CreateEventW(nullptr, FALSE, FALSE, nullptr); }
  void CloseEvent(EventHandle event) override {
    const KeptLastError kept;
    ::CloseHandle(event);
  }
  void Signal(EventHandle event) override {
    const KeptLastError kept;
    ::SetEvent(event);
  }
  bool WaitFor(EventHandle event, Milliseconds at_most) override {
    const KeptLastError kept;
    // Win32 waits at most 49 days, or forever.
    constexpr Milliseconds kMost{INFINITE - 1};
    const DWORD timeout = at_most > kMost ? INFINITE : at_most.count() < 0 ? 0 : static_cast<DWORD>(at_most.count());
    return ::WaitForSingleObject(event, timeout) == WAIT_OBJECT_0;
  }

  ThreadHandle Start(void (*run)(void* context), void* context) override {
    std::unique_ptr<Beginning> beginning(new (std::nothrow) Beginning{run, context, nullptr});
    if (beginning == nullptr) return nullptr;
    const HMODULE module = ReferToOwnModule();
    beginning->module = module;
    const HANDLE thread = ::CreateThread(nullptr, 0, &ThreadMain, beginning.get(), 0, nullptr);
    if (thread != nullptr) {
      (void)beginning.release();
    } else if (module != nullptr) {
      ::FreeLibrary(module);
    }
    return thread;
  }
  void Join(ThreadHandle thread) override {
    ::WaitForSingleObject(thread, INFINITE);
    ::CloseHandle(thread);
  }
  void Detach(ThreadHandle thread) override { ::CloseHandle(thread); }
  void Sleep(Milliseconds duration) override {
    if (duration.count() >= 0) ::Sleep(static_cast<DWORD>(std::min<Milliseconds::rep>(duration.count(), INFINITE - 1)));
  }
};

}  // namespace

ThreadSystem& WindowsThreadSystem() {
  // Never destroyed, because the manager's threads may outlive static destructors.
  alignas(WindowsThreads) static std::array<std::byte, sizeof(WindowsThreads)> place;
  static WindowsThreads* const system = new (place.data()) WindowsThreads;
  return *system;
}

}  // namespace clr_host_memory

#include "os/windows/process_ending.h"

#include <windows.h>

#include <atomic>

#include "os/windows/kept_last_error.h"

namespace clr_host_memory {
namespace {

using ShutdownInProgressFunction = BOOLEAN(NTAPI*)();
constinit std::atomic<ShutdownInProgressFunction> shutdown_in_progress{nullptr};

}  // namespace

void PrepareProcessIsEnding() noexcept {
  if (shutdown_in_progress.load(std::memory_order_relaxed) != nullptr) return;
  const KeptLastError kept;
  // Microsoft documents the function, but no import library of MinGW exports it.
  const FARPROC found = ::GetProcAddress(::GetModuleHandleW(L"ntdll.dll"), "RtlDllShutdownInProgress");
  shutdown_in_progress.store(reinterpret_cast<ShutdownInProgressFunction>(reinterpret_cast<void*>(found)));
}

bool ProcessIsEnding() noexcept {
  const ShutdownInProgressFunction ask = shutdown_in_progress.load(std::memory_order_relaxed);
  return ask != nullptr && ask() != FALSE;
}

}  // namespace clr_host_memory

// The events that stand in for CreateMemoryResourceNotification's, and the callback by which a manager signals them.
//
// There is one event for Low and one for High in the process, made when first asked for and never closed: a CLR waits
// on its handle as long as the process lives, also when the bridge it came from is gone (docs/decisions/0006). Nothing
// here blocks or takes a lock.
#ifndef CLRHM_BRIDGE_STATE_MEMORY_NOTIFICATIONS_H
#define CLRHM_BRIDGE_STATE_MEMORY_NOTIFICATIONS_H

#include <clr_host_memory/clr_host_memory.h>

#include <atomic>
#include <cstdint>
#include <optional>

namespace clr_host_memory {

// A handle of its own for each caller, who may wait on it and close it; type is Low or High. Null, with the last error:
// there is no memory for one.
[[nodiscard]] HANDLE NewNotificationHandle(MEMORY_RESOURCE_NOTIFICATION_TYPE type) noexcept;

// The state of the event that handle is to; nullopt: it is to neither of them. Before Windows 10, which has no way to
// tell what a handle is to, always nullopt. Changes the last error.
[[nodiscard]] std::optional<bool> NotificationState(HANDLE handle) noexcept;

// What one client of the bridge hears of its manager. While it is registered, Low and High signal their events and
// anything else resets them. Of several in the process the one registered last counts.
//
// A notification may come on any thread, at any time, also after Withdraw, and then changes nothing.
class MemoryNotificationCallback final : public ICLRMemoryNotificationCallback {
 public:
  // Starts with one reference, the caller's.
  MemoryNotificationCallback() = default;
  MemoryNotificationCallback(const MemoryNotificationCallback&) = delete;
  MemoryNotificationCallback& operator=(const MemoryNotificationCallback&) = delete;

  STDMETHODIMP QueryInterface(REFIID riid, void** object) noexcept override;
  STDMETHODIMP_(ULONG) AddRef() noexcept override;
  STDMETHODIMP_(ULONG) Release() noexcept override;
  // S_OK; E_INVALIDARG: no EMemoryAvailable, and nothing changes.
  STDMETHODIMP OnMemoryNotification(EMemoryAvailable available) noexcept override;

  // Registers with manager unless that has been done. S_OK: it has, or another thread is at it; otherwise the manager's
  // answer, and a later call tries again. HOST_E_CLRNOTAVAILABLE: withdrawn.
  [[nodiscard]] HRESULT Register(IHostMemoryManager* manager) noexcept;
  // For good: the events are reset, and manager, the one it was registered with, has no callback any more. Idempotent.
  void Withdraw(IHostMemoryManager* manager) noexcept;

 private:
  enum class State { kNotRegistered, kRegistering, kRegistered, kWithdrawn };

  ~MemoryNotificationCallback() = default;
  void Leave(IHostMemoryManager* manager) noexcept;

  std::atomic<ULONG> references_{1};
  std::atomic<State> state_{State::kNotRegistered};
  std::atomic<std::uint64_t> turn_{0};  // its place among those that were registered in this process
};

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_STATE_MEMORY_NOTIFICATIONS_H

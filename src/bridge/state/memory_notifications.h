// The events that replace those of CreateMemoryResourceNotification, and the callback by which a manager signals them.
//
// The process has one event for Low and one for High. Each is made on first use and never closed. A CLR waits on its
// handle as long as the process lives, even after the bridge that made the handle has ended (docs/decisions/0006). The
// functions here never block and take no lock.
#ifndef CLRHM_BRIDGE_STATE_MEMORY_NOTIFICATIONS_H
#define CLRHM_BRIDGE_STATE_MEMORY_NOTIFICATIONS_H

#include <clr_host_memory/memory_manager_abi.h>

#include <atomic>
#include <cstdint>
#include <optional>

#include "com/com_object.h"

namespace clr_host_memory {

// Returns a new handle for the caller, which may wait on it and close it; type is Low or High. Null, with the last
// error: not enough memory for a handle.
[[nodiscard]] HANDLE NewNotificationHandle(MEMORY_RESOURCE_NOTIFICATION_TYPE type) noexcept;

// Returns the state of the event that handle refers to; nullopt: handle refers to neither event. Always nullopt before
// Windows 10, which introduced the comparison of handles. Changes the last error.
[[nodiscard]] std::optional<bool> NotificationState(HANDLE handle) noexcept;

// The notifications that one client of the bridge receives from its manager. While it is registered, Low and High
// signal their events and any other level resets them. If several callbacks in the process are registered, the last
// one counts.
//
// A notification may arrive on any thread at any time. After Withdraw it changes nothing.
class MemoryNotificationCallback final
    : public ComObject<MemoryNotificationCallback,
                       Implements<ICLRMemoryNotificationCallback, kIidClrMemoryNotificationCallback>> {
 public:
  // S_OK; E_INVALIDARG: available is not an EMemoryAvailable, and nothing changes.
  STDMETHODIMP OnMemoryNotification(EMemoryAvailable available) noexcept override;

  // Registers with manager unless that has been done. S_OK: registered, or another thread is registering it. Otherwise
  // returns the manager's failure, and a later call tries again. HOST_E_CLRNOTAVAILABLE: withdrawn.
  [[nodiscard]] HRESULT Register(IHostMemoryManager* manager) noexcept;
  // Withdraws permanently: resets the events and removes the callback from manager, the one it was registered with.
  // Idempotent.
  void Withdraw(IHostMemoryManager* manager) noexcept;

 private:
  enum class State { kNotRegistered, kRegistering, kRegistered, kWithdrawn };

  friend ComObject;
  ~MemoryNotificationCallback() = default;
  void Leave(IHostMemoryManager* manager) noexcept;

  std::atomic<State> state_{State::kNotRegistered};
  std::atomic<std::uint64_t> turn_{0};  // its position in the order of registrations in this process
};

}  // namespace clr_host_memory

#endif  // CLRHM_BRIDGE_STATE_MEMORY_NOTIFICATIONS_H

// The callback the CLR registered. Off the hot path, so a lock may guard the pointer; it is never held across a call.
#ifndef CLRHM_COM_NOTIFICATION_SLOT_H
#define CLRHM_COM_NOTIFICATION_SLOT_H

#include <clr_host_memory/clr_host_memory.h>
#include <clr_host_memory/memory_manager.h>

#include <utility>

namespace clr_host_memory {

class NotificationSlot {
 public:
  NotificationSlot() = default;
  ~NotificationSlot() { Set(nullptr); }
  NotificationSlot(const NotificationSlot&) = delete;
  NotificationSlot& operator=(const NotificationSlot&) = delete;

  // Takes a reference of its own; null unregisters. A notification that is under way may still arrive after this.
  void Set(ICLRMemoryNotificationCallback* callback) noexcept {
    if (callback != nullptr) callback->AddRef();
    ::AcquireSRWLockExclusive(&lock_);
    ComPtr<ICLRMemoryNotificationCallback> previous(std::exchange(callback_, callback));
    ::ReleaseSRWLockExclusive(&lock_);
    // previous is released outside of the lock: its Release is the CLR's code.
  }

  // The callback with a reference, or null.
  [[nodiscard]] ComPtr<ICLRMemoryNotificationCallback> Get() noexcept {
    ::AcquireSRWLockShared(&lock_);
    if (callback_ != nullptr) callback_->AddRef();
    ComPtr<ICLRMemoryNotificationCallback> callback(callback_);
    ::ReleaseSRWLockShared(&lock_);
    return callback;
  }

 private:
  SRWLOCK lock_ = SRWLOCK_INIT;
  ICLRMemoryNotificationCallback* callback_ = nullptr;
};

}  // namespace clr_host_memory

#endif  // CLRHM_COM_NOTIFICATION_SLOT_H

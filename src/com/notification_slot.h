// The callback the CLR registered. Off the hot path, so a lock may guard the pointer; no code of the CLR's runs under it.
#ifndef CLRHM_COM_NOTIFICATION_SLOT_H
#define CLRHM_COM_NOTIFICATION_SLOT_H

#include <clr_host_memory/clr_host_memory.h>

#include <atomic>
#include <new>
#include <utility>

namespace clr_host_memory {

class NotificationSlot {
 public:
  NotificationSlot() = default;
  ~NotificationSlot() { Replace(nullptr); }
  NotificationSlot(const NotificationSlot&) = delete;
  NotificationSlot& operator=(const NotificationSlot&) = delete;

  // Takes a reference of its own; null unregisters. A notification that is under way may still arrive after this.
  // False: no memory, and nothing changed.
  [[nodiscard]] bool Set(ICLRMemoryNotificationCallback* callback) noexcept {
    Holder* holder = nullptr;
    if (callback != nullptr) {
      holder = new (std::nothrow) Holder(callback);
      if (holder == nullptr) return false;
    }
    Replace(holder);
    return true;
  }

  // Calls the callback, if there is one, outside of any lock; S_FALSE if there is none.
  [[nodiscard]] HRESULT Notify(EMemoryAvailable available) noexcept {
    ::AcquireSRWLockShared(&lock_);
    Holder* holder = holder_;
    if (holder != nullptr) holder->references.fetch_add(1);
    ::ReleaseSRWLockShared(&lock_);
    if (holder == nullptr) return S_FALSE;
    const HRESULT hr = holder->callback->OnMemoryNotification(available);
    Drop(holder);
    return hr;
  }

 private:
  // Counted apart from the CLR's object, so that only our own counting happens under the lock.
  struct Holder {
    explicit Holder(ICLRMemoryNotificationCallback* its_callback) : callback(its_callback) { callback->AddRef(); }
    ICLRMemoryNotificationCallback* callback;
    std::atomic<ULONG> references = 1;
  };

  static void Drop(Holder* holder) noexcept {
    if (holder == nullptr || holder->references.fetch_sub(1) != 1) return;
    holder->callback->Release();
    delete holder;
  }

  void Replace(Holder* holder) noexcept {
    ::AcquireSRWLockExclusive(&lock_);
    Holder* const previous = std::exchange(holder_, holder);
    ::ReleaseSRWLockExclusive(&lock_);
    Drop(previous);
  }

  SRWLOCK lock_ = SRWLOCK_INIT;
  Holder* holder_ = nullptr;
};

}  // namespace clr_host_memory

#endif  // CLRHM_COM_NOTIFICATION_SLOT_H

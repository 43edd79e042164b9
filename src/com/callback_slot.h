// A callback that others registered, and those who are calling it. Off the hot path, so a lock may guard the pointer; no
// code of the callback's runs under it.
#ifndef CLRHM_COM_CALLBACK_SLOT_H
#define CLRHM_COM_CALLBACK_SLOT_H

#include <clr_host_memory/clr_host_memory.h>

#include <cstdint>
#include <new>
#include <utility>

namespace clr_host_memory {

template <typename Interface>
class CallbackSlot {
 public:
  CallbackSlot() = default;
  ~CallbackSlot() { Replace(nullptr); }
  CallbackSlot(const CallbackSlot&) = delete;
  CallbackSlot& operator=(const CallbackSlot&) = delete;

  // Takes a reference of its own; null unregisters. When it returns, the callback before is not called any more; from
  // inside a call of the slot's it returns at once, and calls that are under way end as they will.
  // False: no memory, and nothing changed.
  [[nodiscard]] bool Set(Interface* callback) noexcept {
    Holder* holder = nullptr;
    if (callback != nullptr) {
      holder = new (std::nothrow) Holder(callback);
      if (holder == nullptr) return false;
    }
    Replace(holder);
    return true;
  }

  [[nodiscard]] bool IsSet() const noexcept {
    ::AcquireSRWLockShared(&lock_);
    const bool set = holder_ != nullptr;
    ::ReleaseSRWLockShared(&lock_);
    return set;
  }

  // Runs call(Interface&) → HRESULT outside of any lock; S_FALSE if there is nobody to call.
  template <typename Function>
  [[nodiscard]] HRESULT Call(Function call) noexcept {
    Entry entry{.thread = ::GetCurrentThreadId()};
    ::AcquireSRWLockExclusive(&lock_);
    Holder* const holder = holder_;
    if (holder != nullptr) {
      entry.serial = holder->serial;
      entry.next = std::exchange(calls_, &entry);
    }
    ::ReleaseSRWLockExclusive(&lock_);
    if (holder == nullptr) return S_FALSE;

    const HRESULT hr = call(*holder->callback);

    ::AcquireSRWLockExclusive(&lock_);
    Entry** at = &calls_;
    while (*at != &entry) at = &(*at)->next;
    *at = entry.next;
    const bool last = holder->left_to_calls && !IsCalled(entry.serial);
    ::ReleaseSRWLockExclusive(&lock_);
    ::WakeAllConditionVariable(&ended_);
    if (last) delete holder;
    return hr;
  }

 private:
  // Deleted by whoever replaced it, when nobody calls it any more; or by the call that ends last, if that would have to
  // wait for itself.
  struct Holder {
    explicit Holder(Interface* its_callback) : callback(its_callback) { callback->AddRef(); }
    ~Holder() { callback->Release(); }
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;
    Interface* const callback;
    std::uint64_t serial = 0;  // set with it
    bool left_to_calls = false;
  };
  // A call under way; on its thread's stack.
  struct Entry {
    DWORD thread;
    std::uint64_t serial = 0;  // of the holder that is called
    Entry* next = nullptr;
  };

  // Under the lock.
  [[nodiscard]] bool IsCalled(std::uint64_t serial) const noexcept {
    for (const Entry* entry = calls_; entry != nullptr; entry = entry->next) {
      if (entry->serial == serial) return true;
    }
    return false;
  }
  [[nodiscard]] bool IsCalling(DWORD thread) const noexcept {
    for (const Entry* entry = calls_; entry != nullptr; entry = entry->next) {
      if (entry->thread == thread) return true;
    }
    return false;
  }

  void Replace(Holder* holder) noexcept {
    ::AcquireSRWLockExclusive(&lock_);
    if (holder != nullptr) holder->serial = ++last_serial_;
    Holder* const previous = std::exchange(holder_, holder);
    const std::uint64_t serial = previous != nullptr ? previous->serial : 0;
    const bool from_inside = previous != nullptr && IsCalling(::GetCurrentThreadId());
    bool called = IsCalled(serial);
    while (called && !from_inside) {
      ::SleepConditionVariableSRW(&ended_, &lock_, INFINITE, 0);
      called = IsCalled(serial);
    }
    if (called) previous->left_to_calls = true;
    ::ReleaseSRWLockExclusive(&lock_);
    if (!called) delete previous;
  }

  mutable SRWLOCK lock_ = SRWLOCK_INIT;
  CONDITION_VARIABLE ended_ = CONDITION_VARIABLE_INIT;
  Holder* holder_ = nullptr;
  Entry* calls_ = nullptr;
  std::uint64_t last_serial_ = 0;
};

}  // namespace clr_host_memory

#endif  // CLRHM_COM_CALLBACK_SLOT_H

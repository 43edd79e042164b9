// A callback that others registered, and the calls of it that are under way. Off the hot path, so a lock may guard the
// pointer; no code of the callback's runs under it.
//
// A thread inside any call, of any slot of any manager in the process, never waits for one: else two callbacks that
// re-enter the managers could wait for each other. (A library that is linked into two modules of a process knows its
// own calls only.) When the process ends, calls of threads that were killed never return: then no slot locks, waits,
// calls or frees.
#ifndef CLRHM_COM_CALLBACK_SLOT_H
#define CLRHM_COM_CALLBACK_SLOT_H

#include <clr_host_memory/memory_manager_abi.h>

#include <cstdint>
#include <new>
#include <utility>

#include "os/windows/process_ending.h"

namespace clr_host_memory {

// The calls under way in the process.
class CallsUnderWay {
 public:
  // A call, on its thread's stack. what: the registration that is called; only compared.
  struct Entry {
    const void* what = nullptr;
    DWORD thread = ::GetCurrentThreadId();
    Entry* next = nullptr;
  };

  // Whether this thread is inside any call.
  [[nodiscard]] static bool IsThisThreadInside() noexcept {
    if (ProcessIsEnding()) return false;
    const Locked lock;
    return FindThisThread();
  }

 private:
  template <typename Interface>
  friend class CallbackSlot;

  // One lock for all: a call takes it twice, for a few instructions.
  class Locked {
   public:
    Locked() noexcept { ::AcquireSRWLockExclusive(&lock_); }
    ~Locked() { ::ReleaseSRWLockExclusive(&lock_); }
    Locked(const Locked&) = delete;
    Locked& operator=(const Locked&) = delete;
  };

  // ---- under the lock
  static void Enter(Entry& entry) noexcept { entry.next = std::exchange(first_, &entry); }
  static void Leave(Entry& entry) noexcept {
    Entry** at = &first_;
    while (*at != &entry) at = &(*at)->next;
    *at = entry.next;
    ::WakeAllConditionVariable(&ended_);
  }
  [[nodiscard]] static bool IsCalled(const void* what) noexcept {
    const Entry* entry = first_;
    while (entry != nullptr && entry->what != what) entry = entry->next;
    return entry != nullptr;
  }
  [[nodiscard]] static bool FindThisThread() noexcept {
    const Entry* entry = first_;
    while (entry != nullptr && entry->thread != ::GetCurrentThreadId()) entry = entry->next;
    return entry != nullptr;
  }
  // Gives the lock up meanwhile.
  static void AwaitAnEnd() noexcept { ::SleepConditionVariableSRW(&ended_, &lock_, INFINITE, 0); }

  inline static constinit SRWLOCK lock_ = SRWLOCK_INIT;
  inline static constinit CONDITION_VARIABLE ended_ = CONDITION_VARIABLE_INIT;
  inline static constinit Entry* first_ = nullptr;
};

// Whether something that a call has said may still stand, with calls that overlap in any way.
class Standing {
 public:
  // What a call says: what leaves it standing until a later call ends it.
  enum class Effect : std::uint8_t { kNone, kLeaves, kEnds };

  [[nodiscard]] bool May() const noexcept { return may_stand_; }
  // A call begins; returns what End is to be told.
  std::uint64_t Begin(Effect effect) noexcept {
    if (effect == Effect::kLeaves) {
      ++leaving_;
      ++begun_;
      may_stand_ = true;
    }
    return leaving_ == 0 ? begun_ : kOverlaps;
  }
  // It has returned. What stood is over when no call that leaves it was under way at any time since the begin.
  void End(Effect effect, std::uint64_t begin) noexcept {
    if (effect == Effect::kLeaves) --leaving_;
    if (effect == Effect::kEnds && begin == begun_) may_stand_ = false;
  }

 private:
  static constexpr std::uint64_t kOverlaps = UINT64_MAX;
  std::uint64_t begun_ = 0;
  std::uint32_t leaving_ = 0;
  bool may_stand_ = false;
};

template <typename Interface>
class CallbackSlot {
 public:
  using Effect = Standing::Effect;
  // The last call of a callback that is replaced while something stands; it ends that.
  using LastCall = void (*)(void* owner, Interface& callback);

  CallbackSlot() = default;
  // owner outlives every call.
  CallbackSlot(LastCall last_call, void* owner) : last_call_(last_call), owner_(owner) {}
  ~CallbackSlot() { Close(); }
  CallbackSlot(const CallbackSlot&) = delete;
  CallbackSlot& operator=(const CallbackSlot&) = delete;

  // Takes a reference of its own; null unregisters. A callback that is replaced by another is told a farewell if
  // something stands. When it returns, the callback before is not called any more. From inside any call it returns at
  // once: then calls that are under way end as they will, and the last of them says the farewell. False: no memory, or
  // closed, and nothing changed.
  [[nodiscard]] bool Set(Interface* callback) noexcept {
    if (ProcessIsEnding()) return callback == nullptr;
    Registration* made = nullptr;
    if (callback != nullptr) {
      made = new (std::nothrow) Registration(callback);
      if (made == nullptr) return false;
    }
    const bool done = Replace(made, callback != nullptr, false);
    if (!done) delete made;
    return done;
  }

  // Unregisters for good, with a farewell if something stands. Idempotent.
  void Close() noexcept {
    if (!ProcessIsEnding()) (void)Replace(nullptr, true, true);
  }

  [[nodiscard]] bool IsSet() const noexcept {
    if (ProcessIsEnding()) return false;
    const CallsUnderWay::Locked lock;
    return registration_ != nullptr;
  }

  // Runs call(Interface&) → HRESULT outside of any lock; S_FALSE when no callback is registered.
  template <typename Function>
  [[nodiscard]] HRESULT Call(Function call, Effect effect = Effect::kNone) noexcept {
    if (ProcessIsEnding()) return S_FALSE;
    CallsUnderWay::Entry entry;
    Registration* registration = nullptr;
    std::uint64_t begin = 0;
    {
      const CallsUnderWay::Locked lock;
      registration = registration_;
      if (registration == nullptr) return S_FALSE;
      begin = registration->standing.Begin(effect);
      entry.what = registration;
      CallsUnderWay::Enter(entry);
    }

    const HRESULT hr = call(*registration->callback);

    bool last = false;
    {
      const CallsUnderWay::Locked lock;
      CallsUnderWay::Leave(entry);
      registration->standing.End(effect, begin);
      last = registration->left_to_calls && !CallsUnderWay::IsCalled(registration);
    }
    if (last) End(registration);
    return hr;
  }

 private:
  // Ended by the thread that replaced it, when no call of it is under way any more; or by the call that ends last, if
  // that thread must not wait.
  struct Registration {
    explicit Registration(Interface* its_callback) : callback(its_callback) { callback->AddRef(); }
    ~Registration() { callback->Release(); }
    Registration(const Registration&) = delete;
    Registration& operator=(const Registration&) = delete;
    Interface* const callback;
    Standing standing;
    LastCall last_call = nullptr;  // set when it is replaced, with its owner
    void* owner = nullptr;
    bool left_to_calls = false;
  };

  // made, if any, is the slot's when it is done. False: closed.
  bool Replace(Registration* made, bool last_call, bool close) noexcept {
    Registration* previous = nullptr;
    {
      const CallsUnderWay::Locked lock;
      if (closed_ && made != nullptr) return false;
      closed_ = closed_ || close;
      previous = std::exchange(registration_, made);
      if (previous == nullptr) return true;
      if (last_call) previous->last_call = last_call_;
      previous->owner = owner_;
      const bool inside = CallsUnderWay::FindThisThread();
      while (!inside && CallsUnderWay::IsCalled(previous)) CallsUnderWay::AwaitAnEnd();
      previous->left_to_calls = CallsUnderWay::IsCalled(previous);
      if (previous->left_to_calls) return true;
    }
    End(previous);
    return true;
  }

  // Touches no slot, which may be gone by now.
  static void End(Registration* registration) noexcept {
    if (registration->last_call != nullptr && registration->standing.May()) {
      CallsUnderWay::Entry entry;
      entry.what = registration;
      {
        const CallsUnderWay::Locked lock;
        CallsUnderWay::Enter(entry);
      }
      registration->last_call(registration->owner, *registration->callback);
      const CallsUnderWay::Locked lock;
      CallsUnderWay::Leave(entry);
    }
    delete registration;
  }

  const LastCall last_call_ = nullptr;
  void* const owner_ = nullptr;
  Registration* registration_ = nullptr;
  bool closed_ = false;
};

}  // namespace clr_host_memory

#endif  // CLRHM_COM_CALLBACK_SLOT_H

// A registered callback of the CLR or the host, and the calls of it in progress. A lock guards the pointer, because
// this is not on the hot path. The callback's code runs outside of the lock.
//
// A thread inside any call, of any slot of any manager in the process, never waits for a call to end. Otherwise two
// callbacks that re-enter the managers could wait for each other. If the library is linked into two modules of a
// process, each copy knows only its own calls.
// When the process ends, the calls of killed threads never return. From then on no slot locks, waits, calls or frees.
#ifndef CLRHM_COM_CALLBACK_SLOT_H
#define CLRHM_COM_CALLBACK_SLOT_H

#include <clr_host_memory/memory_manager_abi.h>

#include <cstdint>
#include <mutex>
#include <new>
#include <utility>

#include "os/windows/process_ending.h"
#include "os/windows/srw_lock.h"

namespace clr_host_memory {

// The calls in progress in the process.
class CallsUnderWay {
 public:
  // A call in progress; lives on the stack of its thread. what: the registration that is called; only compared.
  struct Entry {
    const void* what = nullptr;
    DWORD thread = ::GetCurrentThreadId();
    Entry* next = nullptr;
  };

  // Returns whether this thread is inside any call.
  [[nodiscard]] static bool IsThisThreadInside() noexcept {
    if (ProcessIsEnding()) return false;
    const std::lock_guard lock(lock_);
    return FindThisThread();
  }

 private:
  template <typename Interface>
  friend class CallbackSlot;

  // ---- the caller holds the lock
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
  // Waits until a call ends. Releases the lock during the wait.
  static void AwaitAnEnd() noexcept { lock_.Wait(ended_, INFINITE); }

  // The one lock of all slots. A call takes it twice, for a few instructions.
  inline static constinit SrwLock lock_;
  inline static constinit CONDITION_VARIABLE ended_ = CONDITION_VARIABLE_INIT;
  inline static constinit Entry* first_ = nullptr;
};

// Tracks whether a notification may still be in effect, with calls that overlap in any way. Example: Low is in effect
// until Neutral or High follows.
class Standing {
 public:
  // kLeaves: the call's notification stays in effect until a later kEnds call. kNone: no effect.
  enum class Effect : std::uint8_t { kNone, kLeaves, kEnds };

  [[nodiscard]] bool May() const noexcept { return may_stand_; }
  // Records the begin of a call. Returns the value to pass to End.
  std::uint64_t Begin(Effect effect) noexcept {
    if (effect == Effect::kLeaves) {
      ++leaving_;
      ++begun_;
      may_stand_ = true;
    }
    return leaving_ == 0 ? begun_ : kOverlaps;
  }
  // Records that the call returned. A kEnds call ends the effect only if no kLeaves call was in progress at any time
  // since its begin. Such a call may have notified the callback last.
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
  // Makes the last call of a callback that is replaced while a notification is in effect. The call ends the effect.
  using LastCall = void (*)(void* owner, Interface& callback);

  CallbackSlot() = default;
  // owner: passed to last_call; outlives every call.
  CallbackSlot(LastCall last_call, void* owner) : last_call_(last_call), owner_(owner) {}
  ~CallbackSlot() { Close(); }
  CallbackSlot(const CallbackSlot&) = delete;
  CallbackSlot& operator=(const CallbackSlot&) = delete;

  // Registers callback and takes a reference to it; null unregisters. If a notification is in effect and another
  // callback takes the place of the previous one, last_call ends the effect for the previous one. Waits for the calls
  // in progress: after Set, the previous callback is not called any more.
  // From inside any call, Set returns at once. Calls in progress then still end, and the last of them makes last_call.
  // False: no memory, or closed; nothing changed.
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

  // Unregisters permanently. Makes last_call if a notification is in effect. Idempotent.
  void Close() noexcept {
    if (!ProcessIsEnding()) (void)Replace(nullptr, true, true);
  }

  [[nodiscard]] bool IsSet() const noexcept {
    if (ProcessIsEnding()) return false;
    const std::lock_guard lock(CallsUnderWay::lock_);
    return registration_ != nullptr;
  }

  // Runs call(Interface&) → HRESULT outside of any lock. S_FALSE: no callback is registered.
  template <typename Function>
  [[nodiscard]] HRESULT Call(Function call, Effect effect = Effect::kNone) noexcept {
    if (ProcessIsEnding()) return S_FALSE;
    CallsUnderWay::Entry entry;
    Registration* registration = nullptr;
    std::uint64_t begin = 0;
    {
      const std::lock_guard lock(CallsUnderWay::lock_);
      registration = registration_;
      if (registration == nullptr) return S_FALSE;
      begin = registration->standing.Begin(effect);
      entry.what = registration;
      CallsUnderWay::Enter(entry);
    }

    const HRESULT hr = call(*registration->callback);

    bool last = false;
    {
      const std::lock_guard lock(CallsUnderWay::lock_);
      CallsUnderWay::Leave(entry);
      registration->standing.End(effect, begin);
      last = registration->left_to_calls && !CallsUnderWay::IsCalled(registration);
    }
    if (last) End(registration);
    return hr;
  }

 private:
  // A registered callback. The thread that replaces it destroys it when no call of it is in progress any more. If that
  // thread must not wait, the call that ends last destroys it.
  struct Registration {
    explicit Registration(Interface* its_callback) : callback(its_callback) { callback->AddRef(); }
    ~Registration() { callback->Release(); }
    Registration(const Registration&) = delete;
    Registration& operator=(const Registration&) = delete;
    Interface* const callback;
    Standing standing;
    LastCall last_call = nullptr;  // set with owner when the registration is replaced
    void* owner = nullptr;
    bool left_to_calls = false;  // the call that ends last destroys the registration
  };

  // Replaces the registration with made, which may be null, and takes ownership of made. False: closed; made stays the
  // caller's.
  bool Replace(Registration* made, bool last_call, bool close) noexcept {
    Registration* previous = nullptr;
    {
      const std::lock_guard lock(CallsUnderWay::lock_);
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

  // Makes the last call if one is due, then destroys the registration. Does not touch the slot, which may already be
  // destroyed.
  static void End(Registration* registration) noexcept {
    if (registration->last_call != nullptr && registration->standing.May()) {
      CallsUnderWay::Entry entry;
      entry.what = registration;
      {
        const std::lock_guard lock(CallsUnderWay::lock_);
        CallsUnderWay::Enter(entry);
      }
      registration->last_call(registration->owner, *registration->callback);
      const std::lock_guard lock(CallsUnderWay::lock_);
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

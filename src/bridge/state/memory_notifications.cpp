#include "bridge/state/memory_notifications.h"

#include <array>

#include "bridge/state/handle_identity.h"

namespace clr_host_memory {
namespace {

// Indexed by MEMORY_RESOURCE_NOTIFICATION_TYPE. Null until the first handle is requested.
constinit std::array<std::atomic<HANDLE>, 2> events{};

// The state that the events must show: the current turn, and the last level notified in it (EMemoryAvailable, which
// has two bits). Each registered callback has its own turn.
constexpr int kAvailableBits = 2;
constexpr std::uint64_t Said(std::uint64_t turn, EMemoryAvailable available) noexcept {
  return turn << kAvailableBits | static_cast<std::uint64_t>(available);
}
constexpr std::uint64_t TurnOf(std::uint64_t said) noexcept { return said >> kAvailableBits; }
constexpr EMemoryAvailable AvailableOf(std::uint64_t said) noexcept {
  return static_cast<EMemoryAvailable>(said & ((1 << kAvailableBits) - 1));
}
// Turns begin with 1. Turn 0 belongs to no callback.
constinit std::atomic<std::uint64_t> last_said{Said(1, eMemoryAvailableNeutral)};

void Show(MEMORY_RESOURCE_NOTIFICATION_TYPE type, bool signalled) noexcept {
  const HANDLE event = events[static_cast<std::size_t>(type)].load(std::memory_order_seq_cst);
  if (event == nullptr) return;
  if (signalled) {
    SetEvent(event);
  } else {
    ResetEvent(event);
  }
}

// Updates the events to show the last notification. Several threads may be here with notifications of different times.
// Each thread repeats until the notification that it has shown is still the last one. Thus the events show the last
// notification after all threads have left.
void ShowWhatWasSaid() noexcept {
  std::uint64_t shown = 0;
  do {
    shown = last_said.load(std::memory_order_seq_cst);
    Show(LowMemoryResourceNotification, AvailableOf(shown) == eMemoryAvailableLow);
    Show(HighMemoryResourceNotification, AvailableOf(shown) == eMemoryAvailableHigh);
  } while (last_said.load(std::memory_order_seq_cst) != shown);
}

// Ends the current turn and begins the next; returns the new turn.
std::uint64_t BeginTurn() noexcept {
  std::uint64_t said = last_said.load(std::memory_order_seq_cst);
  while (!last_said.compare_exchange_weak(said, Said(TurnOf(said) + 1, eMemoryAvailableNeutral))) {
  }
  ShowWhatWasSaid();
  return TurnOf(said) + 1;
}

// Replaces the level notified in turn. Changes nothing if another turn has begun.
void ReplaceInTurn(std::uint64_t turn, std::uint64_t desired) noexcept {
  std::uint64_t said = last_said.load(std::memory_order_seq_cst);
  do {
    if (TurnOf(said) != turn) return;
  } while (!last_said.compare_exchange_weak(said, desired));
  ShowWhatWasSaid();
}

// Returns the process's event of that type, and makes it if it does not exist. Null, with the last error: it could not
// be made.
HANDLE EventOf(MEMORY_RESOURCE_NOTIFICATION_TYPE type) noexcept {
  auto& event = events[static_cast<std::size_t>(type)];
  HANDLE found = event.load(std::memory_order_seq_cst);
  if (found != nullptr) return found;
  const HANDLE made = CreateEventW(nullptr, TRUE, FALSE, nullptr);
  if (made == nullptr) return nullptr;
  if (!event.compare_exchange_strong(found, made)) {
    CloseHandle(made);
    return found;
  }
  ShowWhatWasSaid();  // the other type may have been requested long ago
  return made;
}

}  // namespace

HANDLE NewNotificationHandle(MEMORY_RESOURCE_NOTIFICATION_TYPE type) noexcept {
  PrepareHandleComparison();
  const HANDLE event = EventOf(type);
  if (event == nullptr) return nullptr;
  // The handle permits waiting and querying the state; it does not permit setting the event.
  constexpr DWORD kEventQueryState = 0x1;
  HANDLE handle = nullptr;
  DuplicateHandle(GetCurrentProcess(), event, GetCurrentProcess(), &handle, SYNCHRONIZE | kEventQueryState, FALSE, 0);
  return handle;
}

std::optional<bool> NotificationState(HANDLE handle) noexcept {
  if (!CanCompareHandles()) return std::nullopt;
  for (const auto& slot : events) {
    const HANDLE event = slot.load(std::memory_order_seq_cst);
    if (event == nullptr || !IsSameObject(handle, event)) continue;
    return WaitForSingleObject(event, 0) == WAIT_OBJECT_0;
  }
  return std::nullopt;
}

HRESULT MemoryNotificationCallback::OnMemoryNotification(EMemoryAvailable available) noexcept {
  if (available < eMemoryAvailableLow || available > eMemoryAvailableHigh) return E_INVALIDARG;
  const std::uint64_t turn = turn_.load();
  ReplaceInTurn(turn, Said(turn, available));
  return S_OK;
}

HRESULT MemoryNotificationCallback::Register(IHostMemoryManager* manager) noexcept {
  State state = State::kNotRegistered;
  if (!state_.compare_exchange_strong(state, State::kRegistering)) {
    return state == State::kWithdrawn ? HOST_E_CLRNOTAVAILABLE : S_OK;
  }
  turn_.store(BeginTurn());
  const HRESULT hr = manager->RegisterMemoryNotificationCallback(this);
  state = State::kRegistering;
  if (state_.compare_exchange_strong(state, hr == S_OK ? State::kRegistered : State::kNotRegistered)) return hr;
  if (hr == S_OK) Leave(manager);  // withdrawn meanwhile, by a thread that could not see the registration
  return HOST_E_CLRNOTAVAILABLE;
}

void MemoryNotificationCallback::Withdraw(IHostMemoryManager* manager) noexcept {
  if (state_.exchange(State::kWithdrawn) == State::kRegistered) Leave(manager);
}

void MemoryNotificationCallback::Leave(IHostMemoryManager* manager) noexcept {
  // End the turn first, so that a notification that arrives from now on changes nothing. If a Low stayed, the CLR
  // would collect forever.
  const std::uint64_t turn = turn_.load();
  ReplaceInTurn(turn, Said(turn + 1, eMemoryAvailableNeutral));
  manager->RegisterMemoryNotificationCallback(nullptr);
}

}  // namespace clr_host_memory

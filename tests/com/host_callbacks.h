// Callbacks for the manager's threads: a CLR's callback and a host's sink whose actions a test sets.
#ifndef CLRHM_TESTS_COM_HOST_CALLBACKS_H
#define CLRHM_TESTS_COM_HOST_CALLBACKS_H

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>
#include <utility>

#include "manager_client.h"

namespace clr_host_memory::test {

// Waits until done() returns true, for 20 seconds at most.
template <typename Done>
bool Eventually(Done done) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{20};
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  return true;
}

// A CLR's callback that runs a test's action and counts notifications.
class Callback final : public ICLRMemoryNotificationCallback {
 public:
  HRESULT STDMETHODCALLTYPE QueryInterface(REFIID, void** object) noexcept override {
    *object = nullptr;
    return E_NOINTERFACE;
  }
  ULONG STDMETHODCALLTYPE AddRef() noexcept override { return ++references; }
  ULONG STDMETHODCALLTYPE Release() noexcept override { return --references; }
  HRESULT STDMETHODCALLTYPE OnMemoryNotification(EMemoryAvailable available) noexcept override {
    if (dead) ++after_death;
    ++told[available];
    last = available;
    if (react) react(available);
    return S_OK;
  }
  std::atomic<ULONG> references = 1;
  std::atomic<bool> dead = false;
  std::atomic<int> after_death = 0;
  std::atomic<int> told[4] = {};
  std::atomic<int> last = 0;
  std::function<void(EMemoryAvailable)> react;
};

inline ComReference<EventFunction> SinkOf(std::function<void(const ClrHostMemoryEvent&)> function) {
  return ComReference<EventFunction>(new EventFunction(std::move(function)));
}

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_COM_HOST_CALLBACKS_H

#include "support/switcher.h"

#include <cstdint>
#include <utility>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CLRHM_SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CLRHM_SANITIZED
#endif

#if defined(__linux__) && !defined(CLRHM_SANITIZED)
#include <ucontext.h>

namespace clr_host_memory::test {

bool SwitchingIsCheap() { return true; }

struct Switcher::Context {
  ucontext_t context{};
  std::unique_ptr<char[]> stack;
  Switcher* owner = nullptr;
  std::size_t index = 0;
};

// makecontext passes only integers, so the pointer travels in two halves.
void Switcher::Enter(unsigned high, unsigned low) {
  const std::uintptr_t address = (static_cast<std::uintptr_t>(high) << 32) | low;
  const Context* self = reinterpret_cast<const Context*>(address);
  self->owner->run_(self->index);
}

Switcher::Switcher(std::size_t count, std::function<void(std::size_t)> run) : run_(std::move(run)) {
  constexpr std::size_t kStackSize = 256 * 1024;
  for (std::size_t i = 0; i <= count; ++i) {
    Context& context = *contexts_.emplace_back(std::make_unique<Context>());
    if (i == count) break;
    context.owner = this;
    context.index = i;
    context.stack = std::make_unique<char[]>(kStackSize);
    getcontext(&context.context);
    context.context.uc_stack.ss_sp = context.stack.get();
    context.context.uc_stack.ss_size = kStackSize;
    const auto address = reinterpret_cast<std::uintptr_t>(&context);
    makecontext(&context.context, reinterpret_cast<void (*)()>(&Switcher::Enter), 2,
                static_cast<unsigned>(address >> 32), static_cast<unsigned>(address));
  }
}

Switcher::~Switcher() = default;

bool Switcher::Transfer(std::size_t from, std::size_t to) {
  swapcontext(&contexts_[from]->context, &contexts_[to]->context);
  return true;
}

}  // namespace clr_host_memory::test

#elif defined(_WIN32)
#include <windows.h>

namespace clr_host_memory::test {

bool SwitchingIsCheap() { return true; }

struct Switcher::Context {
  Switcher* owner = nullptr;
  std::size_t index = 0;
  void* fiber = nullptr;
};

void __stdcall Switcher::EnterFiber(void* context) {
  const auto* self = static_cast<const Context*>(context);
  self->owner->run_(self->index);
}

Switcher::Switcher(std::size_t count, std::function<void(std::size_t)> run) : run_(std::move(run)) {
  for (std::size_t i = 0; i <= count; ++i) {
    Context& context = *contexts_.emplace_back(std::make_unique<Context>());
    context.owner = this;
    context.index = i;
    context.fiber = i == count ? ::ConvertThreadToFiber(nullptr) : ::CreateFiber(256 * 1024, &EnterFiber, &context);
  }
}

Switcher::~Switcher() {
  for (std::size_t i = 0; i + 1 < contexts_.size(); ++i) ::DeleteFiber(contexts_[i]->fiber);
  ::ConvertFiberToThread();
}

bool Switcher::Transfer(std::size_t, std::size_t to) {
  ::SwitchToFiber(contexts_[to]->fiber);
  return true;
}

}  // namespace clr_host_memory::test

#else
#include <semaphore>
#include <thread>

namespace clr_host_memory::test {

bool SwitchingIsCheap() { return false; }

struct Switcher::Context {
  std::binary_semaphore go{0};
  std::thread thread;
};

Switcher::Switcher(std::size_t count, std::function<void(std::size_t)> run) : run_(std::move(run)) {
  for (std::size_t i = 0; i <= count; ++i) contexts_.push_back(std::make_unique<Context>());
  for (std::size_t i = 0; i < count; ++i) {
    contexts_[i]->thread = std::thread([this, i] {
      contexts_[i]->go.acquire();
      if (!quit_) run_(i);
    });
  }
}

Switcher::~Switcher() {
  quit_ = true;
  for (const auto& context : contexts_) context->go.release();
  for (const auto& context : contexts_) {
    if (context->thread.joinable()) context->thread.join();
  }
}

bool Switcher::Transfer(std::size_t from, std::size_t to) {
  contexts_[to]->go.release();
  contexts_[from]->go.acquire();
  return !quit_;
}

}  // namespace clr_host_memory::test
#endif

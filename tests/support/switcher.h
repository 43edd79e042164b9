// Several contexts of execution of which one runs at a time, and hands over by name. Where it can be had they are
// contexts of one thread (fibers on Windows), which takes well below a microsecond to switch; with sanitizers, who do
// not follow a stack being exchanged, they are threads.
#ifndef CLRHM_TESTS_SUPPORT_SWITCHER_H
#define CLRHM_TESTS_SUPPORT_SWITCHER_H

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

namespace clr_host_memory::test {

// Whether switching costs so little that hundreds of thousands of schedules can be played.
[[nodiscard]] bool SwitchingIsCheap();

class Switcher {
 public:
  // Contexts 0 .. count-1 begin in run(context) when first transferred to. Context `count` is the caller's own.
  Switcher(std::size_t count, std::function<void(std::size_t)> run);
  // Called from the caller's context. The others are abandoned where they wait: in Transfer, which threads are told by
  // its answer.
  ~Switcher();
  Switcher(const Switcher&) = delete;
  Switcher& operator=(const Switcher&) = delete;

  // From the context that runs: lets `to` go on, and comes back when someone transfers here again. False: the end has
  // come, and run is to return.
  [[nodiscard]] bool Transfer(std::size_t from, std::size_t to);

 private:
  struct Context;
  static void Enter(unsigned high, unsigned low);
#ifdef _WIN32
  static void __stdcall EnterFiber(void* context);
#endif

  std::function<void(std::size_t)> run_;
  std::vector<std::unique_ptr<Context>> contexts_;
  bool quit_ = false;
};

}  // namespace clr_host_memory::test

#endif  // CLRHM_TESTS_SUPPORT_SWITCHER_H

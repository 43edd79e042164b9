// Someone who sleeps until there is something to do.
#ifndef CLRHM_BASE_WAKER_H
#define CLRHM_BASE_WAKER_H

namespace clr_host_memory {

class Waker {
 public:
  // From any thread, also one that will be suspended right after: it is remembered until the sleeper has looked. Takes
  // no lock and never waits.
  virtual void Wake() noexcept = 0;

 protected:
  ~Waker() = default;
};

}  // namespace clr_host_memory

#endif  // CLRHM_BASE_WAKER_H

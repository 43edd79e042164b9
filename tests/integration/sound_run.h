// Checks what holds after every run under the manager, for every app.
#ifndef CLRHM_TESTS_INTEGRATION_SOUND_RUN_H
#define CLRHM_TESTS_INTEGRATION_SOUND_RUN_H

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "integration/clrmem_process.h"

namespace clrhm_test {

// Expects that the run ended in time and wrote a summary. The ledger must equal what VirtualQuery shows, the
// charge must never have exceeded the bound, and the runtime's calls must have arrived through the bridge.
inline void ExpectSound(const RunWithSummary& run) {
  ASSERT_FALSE(run.process.timed_out) << run.process.out << run.process.error;
  ASSERT_TRUE(run.summary.is_object()) << run.process.error;
  EXPECT_EQ(run.summary["schema"], 1);
  EXPECT_EQ(run.summary["audit"]["mismatch_bytes"], 0) << run.summary.dump(2);
  EXPECT_EQ(run.summary["audit"]["ledger_bytes"], run.summary["audit"]["virtual_query_bytes"]) << run.summary.dump(2);
  // The limit is a limit: what was charged and what was held of the headroom never exceeded it.
  EXPECT_EQ(run.summary["bound"]["exceeded_by_bytes"], 0) << run.summary.dump(2);
  const auto& limit = run.summary["limit_bytes"];
  if (limit.is_number() && run.summary["limit_changes"].empty()) {
    EXPECT_LE(run.summary["memory"]["peak_charged_bytes"], limit) << run.summary.dump(2);
  }
  EXPECT_GT(run.summary["calls"]["virtual_alloc"]["ok"], 100);
  EXPECT_GE(run.summary["bridge"]["calls"], run.summary["calls"]["virtual_alloc"]["total"]);
  EXPECT_THAT(run.process.error, testing::HasSubstr("mismatch 0 bytes"));
}

}  // namespace clrhm_test

#endif  // CLRHM_TESTS_INTEGRATION_SOUND_RUN_H

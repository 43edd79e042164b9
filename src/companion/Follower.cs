using System;
using System.Globalization;
using System.Threading;

namespace ClrHostMemory
{
    // Follows the manager's limit: passes readings of the GC and carries out what the manager orders. In a steady state
    // a round allocates nothing, except after a collection. One thread at a time.
    internal sealed unsafe class Follower
    {
        private const ulong NoLimit = ulong.MaxValue;
        private const uint WaitMilliseconds = 500;
        private const int ShortestPause = 250;  // milliseconds
        private const int LongestPause = 4000;

        private readonly Control _control;
        private GcReading _reading;
        // The last limit that the GC could not keep to; 0: none. It, and lower ones, are tried again at _retryAt.
        private ulong _failed;
        private long _retryAt;
        private int _retryAfter;  // milliseconds

        public Follower(Control control)
        {
            _control = control;
            _reading.Size = (uint)sizeof(GcReading);
            _reading.Follows = AppContext.GetData("ClrHostMemory.FollowGcLimit") is "1" ? 1u : 0u;
            _reading.GcLimit = LimitAtStart();
            _reading.Collections = ulong.MaxValue;  // the first reading differs from it
        }

        // Rounds until the manager is shut down.
        public void Run()
        {
            while (Follow(WaitMilliseconds))
            {
            }
        }

        // One round: waits up to that long for an order, and carries it out. Returns whether the manager still serves.
        public bool Follow(uint milliseconds)
        {
            try
            {
                Read();
                GcOrder order = new() { Size = (uint)sizeof(GcOrder) };
                GcReading reading = _reading;
                int result = _control.FollowGc(&reading, milliseconds, &order);
                if (result < 0)
                {
                    return false;
                }
                if (result == 0)
                {
                    CarryOut(order);
                }
            }
            catch (OutOfMemoryException)
            {
                // The next round tries again. A wait of no time allocates nothing.
                Thread.Sleep(milliseconds == 0 ? 0 : ShortestPause);
            }
            return true;
        }

        private static ulong LimitAtStart()
        {
            if (AppContext.GetData("GCHeapHardLimit") is ulong told && told != 0)
            {
                return told;
            }
            return AppContext.GetData("System.GC.HeapHardLimit") is string digits &&
                   ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out ulong limit) && limit != 0
                ? limit
                : NoLimit;
        }

        private void Read()
        {
            _reading.PauseMilliseconds = (ulong)GC.GetTotalPauseDuration().TotalMilliseconds;
            _reading.Allocated = (ulong)GC.GetTotalAllocatedBytes(false);
            ulong collections = (ulong)GC.CollectionCount(0);
            if (collections == _reading.Collections)
            {
                return;
            }
            _reading.Collections = collections;
            // Allocates an object, so it is called only if the answer has changed.
            _reading.Heap = (ulong)GC.GetGCMemoryInfo(GCKind.Any).HeapSizeBytes;
        }

        private void CarryOut(in GcOrder order)
        {
            if (order.Collect != 0)
            {
                CollectAll();
            }
            ulong limit = order.GcLimit;
            if (_reading.Follows == 0 || limit == _reading.GcLimit)
            {
                return;
            }
            // A GC accepts every higher limit, so raising the limit collects nothing.
            if (limit > _reading.GcLimit ? Tell(limit) : Lower(limit, order.Collect != 0))
            {
                _failed = 0;
                _retryAfter = 0;
            }
        }

        // Returns whether the GC keeps to the limit from now on. collected: a collection has just ended.
        private bool Lower(ulong limit, bool collected)
        {
            if (limit <= _failed && Environment.TickCount64 < _retryAt)
            {
                return false;
            }
            if (!collected)
            {
                // A refused limit costs an exception, so the GC's committed bytes are compared first. The GC updates
                // that figure when it collects.
                GC.Collect(0);
                if (Committed() <= limit - limit / 32 && Tell(limit))
                {
                    return true;
                }
                CollectAll();
            }
            ulong least = Committed();
            least += least / 128 + 64 * 1024;
            if (least <= limit && Tell(limit))
            {
                return true;
            }
            // The live objects need more. The GC keeps at least to what it has.
            if (least < _reading.GcLimit && least > limit)
            {
                Tell(least);
            }
            _failed = limit;
            _retryAfter = Math.Clamp(2 * _retryAfter, ShortestPause, LongestPause);
            _retryAt = Environment.TickCount64 + _retryAfter;
            return false;
        }

        private static void CollectAll() => GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, true, true);

        private static ulong Committed() => (ulong)GC.GetGCMemoryInfo(GCKind.Any).TotalCommittedBytes;

        // Returns whether the GC keeps to the limit from now on.
        private bool Tell(ulong limit)
        {
            // For the GC, 0 is no limit.
            AppContext.SetData("GCHeapHardLimit", limit == NoLimit ? 0 : limit & ~0xFFFUL);
            try
            {
                GC.RefreshMemoryLimit();
            }
            catch (InvalidOperationException)
            {
                return false;  // the GC has committed more
            }
            _reading.GcLimit = limit;
            return true;
        }
    }
}

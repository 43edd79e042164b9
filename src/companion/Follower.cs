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
        private bool _asked;
        // The last limit that the GC could not keep to; 0: none. It, and lower ones, are tried again at _retryAt.
        private ulong _failed;
        private long _retryAt;
        private int _retryAfter;  // milliseconds

        // startLimit: as Companion.StartForHost receives it.
        public Follower(Control control, ulong startLimit)
        {
            _control = control;
            _reading.Size = (uint)sizeof(GcReading);
            _reading.Follows = startLimit != 0 ? 1u : 0u;
            _reading.GcLimit = startLimit;
            _reading.Collections = ulong.MaxValue;  // the first reading differs from it
        }

        // Rounds until the manager is shut down.
        public void Run()
        {
            Thread.CurrentThread.Name = "ClrHostMemory companion";
            if (_reading.Follows == 0)
            {
                _reading.GcLimit = OwnLimit();
            }
            while (Follow())
            {
            }
        }

        // One round: waits for an order, and carries it out. Returns whether the manager still serves.
        private bool Follow()
        {
            try
            {
                int result = Ask(WaitMilliseconds, out GcOrder order);
                // A collection needs memory of its own for a moment, and this thread returns only at its end. So what
                // would cost a collection is asked for again.
                if (result == 0 && (order.Collect != 0 || order.GcLimit < _reading.GcLimit))
                {
                    result = Ask(0, out order);
                }
                if (result == 0)
                {
                    CarryOut(order);
                }
                return result >= 0;
            }
            catch (OutOfMemoryException)
            {
                // The next round tries again.
                Thread.Sleep(ShortestPause);
                return true;
            }
        }

        private int Ask(uint milliseconds, out GcOrder order)
        {
            // The first question comes while the program starts. It needs no figures, which would cost time and memory.
            if (_asked)
            {
                Read();
            }
            _asked = true;
            GcReading reading = _reading;
            GcOrder received = new() { Size = (uint)sizeof(GcOrder) };
            int result = _control.FollowGc(&reading, milliseconds, &received);
            order = received;
            return result;
        }

        // Returns the limit that the program's configuration gives the GC.
        private static ulong OwnLimit()
        {
            return AppContext.GetData("System.GC.HeapHardLimit") is string digits &&
                   ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out ulong limit) && limit != 0
                ? limit
                : NoLimit;
        }

        private void Read()
        {
            ulong collections = (ulong)GC.CollectionCount(0);
            if (collections != _reading.Collections)
            {
                // Allocates an object, so it is called only if the answer has changed.
                _reading.Heap = (ulong)GC.GetGCMemoryInfo(GCKind.Any).HeapSizeBytes;
            }
            // The manager takes the time when it receives the reading. A collection in between would be missing in the
            // totals, so they are read last, and again if there was one.
            do
            {
                collections = (ulong)GC.CollectionCount(0);
                _reading.Allocated = (ulong)GC.GetTotalAllocatedBytes(false);
                _reading.PauseMilliseconds = (ulong)GC.GetTotalPauseDuration().TotalMilliseconds;
            }
            while (collections != (ulong)GC.CollectionCount(0));
            _reading.Collections = collections;
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
            if (!collected && Charged() > limit)
            {
                CollectAll();
            }
            ulong least = Charged();
            if (least <= limit && Tell(limit))
            {
                return true;
            }
            // The live objects need more. The GC keeps at least to what it has.
            least += least / 128 + 64 * 1024;
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

        // Returns what the GC has now. It throws for every limit below.
        private ulong Charged() => Ask(0, out GcOrder order) < 0 ? NoLimit : order.GcCharged;

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

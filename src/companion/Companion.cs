using System;
using System.Globalization;
using System.Threading;

namespace ClrHostMemory
{
    /// <summary>
    /// The manager's companion in the runtime: tells the GC the limit that the manager's limit leaves to its heap, and
    /// passes the manager readings of the GC. It asks the manager on a thread of its own. The manager never calls it.
    /// </summary>
    public static class Companion
    {
        private const int StackBytes = 256 * 1024;

        private static Follower? s_follower;

        /// <summary>
        /// Starts the companion. If STARTUP_HOOKS names this assembly, the runtime calls this before Main. Other hosts
        /// call it as soon as managed code runs. Any thread. Later calls have no effect. Throws nothing.
        /// </summary>
        /// <returns>Whether the companion works. False: the bridge's start properties are missing, the manager has
        /// been shut down, or there is no memory for a thread.</returns>
        public static bool Start()
        {
            try
            {
                if (Volatile.Read(ref s_follower) != null)
                {
                    return true;
                }
                if (AppContext.GetData("ClrHostMemory.Control") is not string digits ||
                    !ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out ulong address) ||
                    address == 0)
                {
                    return false;
                }
                var follower = new Follower(new Control((nuint)address));
                if (Interlocked.CompareExchange(ref s_follower, follower, null) != null)
                {
                    return true;
                }
                // The GC's limit is right before Main begins.
                if (!follower.Follow(0))
                {
                    return false;
                }
                var thread = new Thread(follower.Run, StackBytes)
                {
                    IsBackground = true,
                    Name = "ClrHostMemory companion",
                };
                thread.UnsafeStart();
                return true;
            }
            catch (OutOfMemoryException)
            {
                // The limit that the GC started with stays.
                return false;
            }
        }
    }
}

using System;
using System.Runtime.InteropServices;
using System.Threading;

namespace ClrHostMemory
{
    // The manager's companion in the runtime. It tells the GC the limit that the manager's limit leaves to its heap, and
    // passes the manager readings of the GC. It asks the manager on its own thread.
    internal static unsafe class Companion
    {
        private const int StackBytes = 256 * 1024;

        // What IClrHostMemoryBridge::StartCompanion calls, before Main. The start of a program waits for it, so it does
        // only what the thread cannot. control: an IClrHostMemoryControl, of which the companion owns a reference.
        // startLimit: the limit that the GC started with, bytes; ulong.MaxValue: none; 0: the companion must not change
        // the GC's limit. Returns 1, or 0 if there is no memory for a thread.
        [UnmanagedCallersOnly]
        internal static int StartForHost(void* control, ulong startLimit) => Start(control, startLimit);

        // The same, for managed callers.
        internal static int Start(void* control, ulong startLimit)
        {
            try
            {
                var thread = new Thread(new Follower(new Control(control), startLimit).Run, StackBytes)
                {
                    IsBackground = true,
                };
                thread.UnsafeStart();
                return 1;
            }
            catch (OutOfMemoryException)
            {
                return 0;
            }
        }
    }
}

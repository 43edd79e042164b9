using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using ClrHostMemory;

// BufferCache KIND native|managed [deaf]: serves requests, each with a buffer of 2 MiB that a cache keeps. The cache
// releases its entries on a collection, as caches do. Native buffers come from the memory manager, so the GC does not
// know their size. Managed buffers are arrays, held by objects with finalizers. The program sets the manager's
// threshold for Low to 28 % of the memory left. At 27 % it waits until the cache has released so much that more is left,
// at most for a minute.
//   weak        entries behind WeakReference; a finalizer frees their buffers
//   table       entries in a ConditionalWeakTable, keyed by finished requests; a finalizer frees their buffers
//   finalizer   entries in a strong list; after a collection with a high memory load, an object's finalizer drops them,
//               as ArrayPool does
// deaf: removes the CLR's callback from the manager first, so that the CLR receives no notification. The program then
// does not wait for the cache.
// Run it with a generation 0 of 64 MiB (DOTNET_GCgen0size=4000000), of which it fills less than a quarter. So without a
// notification, there is no collection before the first refusal.
// Exit codes, with the line printed:
// - 0: "served <n> requests"
// - 42: "OutOfMemoryException after <n> requests"
// - 3: "nothing was given up after <n> requests"
// - 2: it cannot begin
internal static class BufferCache
{
    private const int Requests = 80;
    private const int BufferBytes = 2 * 1024 * 1024;
    private const uint MemCommitReserve = 0x3000, MemRelease = 0x8000, PageReadWrite = 0x04;
    private const int TaskCritical = 0;
    private const int LowPercentLeft = 28, AwaitedPercentLeft = 27;

    private static IHostMemoryManager manager_ = null!;
    private static readonly List<WeakReference<Buffer>> weak_ = new();
    private static readonly ConditionalWeakTable<object, Buffer> table_ = new();
    private static readonly List<Buffer> held_ = new();

    private sealed class Buffer : IDisposable
    {
        private readonly IntPtr address_;
        private byte[]? array_;

        public Buffer(bool managed)
        {
            if (managed)
            {
                array_ = new byte[BufferBytes];
                for (int i = 0; i < BufferBytes; i += 4096)
                {
                    array_[i] = 1;
                }
                return;
            }
            int result = manager_.VirtualAlloc(IntPtr.Zero, (UIntPtr)BufferBytes, MemCommitReserve, PageReadWrite,
                                               TaskCritical, out address_);
            if (result != 0)
            {
                GC.SuppressFinalize(this);
                throw new OutOfMemoryException();
            }
        }

        ~Buffer() => Free();

        public void Dispose()
        {
            Free();
            GC.SuppressFinalize(this);
        }

        private void Free()
        {
            array_ = null;
            if (address_ != IntPtr.Zero)
            {
                manager_.VirtualFree(address_, UIntPtr.Zero, MemRelease);
            }
        }
    }

    // Garbage from the start: every collection finalizes it, and the finalizer creates the next one.
    private sealed class Watcher
    {
        ~Watcher()
        {
            GCMemoryInfo info = GC.GetGCMemoryInfo();
            if (info.MemoryLoadBytes >= 0.7 * info.HighMemoryLoadThresholdBytes)
            {
                lock (held_)
                {
                    foreach (Buffer buffer in held_)
                    {
                        buffer.Dispose();
                    }
                    held_.Clear();
                }
            }
            Watch();
        }
    }

    private static int Main(string[] args)
    {
        if (HostManager.Find() is not IHostMemoryManager manager || args.Length < 2)
        {
            Console.WriteLine("needs a manager; BufferCache weak|table|finalizer native|managed [deaf]");
            return 2;
        }
        manager_ = manager;
        HostMemory.Current.SetThresholds(new HostMemoryThresholds
        {
            EnterLow = LowPercentLeft, LeaveLow = 38, LeaveHigh = 60, EnterHigh = 70, Dwell = TimeSpan.Zero
        });
        bool deaf = args.Length > 2 && args[2] == "deaf";
        if (deaf)
        {
            manager.RegisterMemoryNotificationCallback(null);
        }
        if (args[0] == "finalizer")
        {
            Watch();
        }

        int served = 0;
        try
        {
            for (; served < Requests; ++served)
            {
                Serve(args[0], args[1] == "managed");
                if (!deaf && !AwaitRoom(HostMemory.Current))
                {
                    Console.WriteLine("nothing was given up after " + served + " requests");
                    return 3;
                }
            }
        }
        catch (OutOfMemoryException)
        {
            // Releases the entries before printing anything: Console itself needs memory.
            weak_.Clear();
            table_.Clear();
            lock (held_)
            {
                held_.Clear();
            }
            GC.Collect();
            GC.WaitForPendingFinalizers();
            Console.WriteLine("OutOfMemoryException after " + served + " requests, " + GC.CollectionCount(0) +
                              " collections");
            return 42;
        }
        Console.WriteLine("served " + served + " requests, " + GC.CollectionCount(0) + " collections");
        return 0;
    }

    // Returns false if a minute was not enough.
    private static bool AwaitRoom(HostMemory memory)
    {
        var idle = new IdleWork();
        var watch = Stopwatch.StartNew();
        for (;;)
        {
            HostMemoryStatistics figures = memory.GetStatistics();
            ulong limit = figures.Limit ?? ulong.MaxValue;
            if (limit - figures.Charged > limit / 100 * (ulong)AwaitedPercentLeft)
            {
                return true;
            }
            if (watch.Elapsed > TimeSpan.FromMinutes(1))
            {
                return false;
            }
            idle.Do();
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Watch() => GC.KeepAlive(new Watcher());

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Serve(string kind, bool managed)
    {
        var request = new object();
        var buffer = new Buffer(managed);
        // The other garbage of a request.
        GC.KeepAlive(new byte[80 * 1024]);
        switch (kind)
        {
            case "weak":
                weak_.Add(new WeakReference<Buffer>(buffer));
                break;
            case "table":
                table_.Add(request, buffer);
                break;
            default:
                lock (held_)
                {
                    held_.Add(buffer);
                }
                break;
        }
    }
}

using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Threading;
using ClrHostMemory;

// HeldBuffers COUNT FIRST LIMIT_MIB|none: allocates FIRST buffers of 2 MiB from the memory manager. Then waits until
// the manager's limit is LIMIT_MIB, and allocates the rest of COUNT. While it waits, it allocates and frees 64 KiB
// again and again. The buffers are native memory and are held to the end, so no collection makes room for the next
// buffer.
// Exit codes, with the line printed:
// - 0: "holds <n> buffers"
// - 42: "refused after <n> buffers"
// - 3: the limit does not become LIMIT_MIB within a minute
// - 2: it cannot begin
internal static class HeldBuffers
{
    private const int BufferBytes = 2 * 1024 * 1024, SmallBytes = 64 * 1024;
    private const uint MemCommitReserve = 0x3000, MemRelease = 0x8000, PageReadWrite = 0x04;
    private const int TaskCritical = 0;

    private static int Main(string[] args)
    {
        if (HostManager.Find() is not IHostMemoryManager manager || args.Length != 3)
        {
            Console.WriteLine("needs a manager; HeldBuffers COUNT FIRST LIMIT_MIB|none");
            return 2;
        }
        int count = int.Parse(args[0]), first = int.Parse(args[1]);
        ulong limit = args[2] == "none" ? ulong.MaxValue : ulong.Parse(args[2]) * 1024 * 1024;

        var buffers = new List<IntPtr>(count);
        if (Take(manager, buffers, first))
        {
            if (!AwaitLimit(manager, limit))
            {
                Console.WriteLine("the limit is another after a minute");
                return 3;
            }
            if (Take(manager, buffers, count))
            {
                Console.WriteLine("holds " + count + " buffers");
                return 0;
            }
        }
        int held = buffers.Count;
        // Frees the buffers first: printing needs memory.
        foreach (IntPtr buffer in buffers)
        {
            manager.VirtualFree(buffer, UIntPtr.Zero, MemRelease);
        }
        Console.WriteLine("refused after " + held + " buffers");
        return 42;
    }

    // Returns false if the manager refused a buffer.
    private static bool Take(IHostMemoryManager manager, List<IntPtr> buffers, int count)
    {
        while (buffers.Count < count)
        {
            if (manager.VirtualAlloc(IntPtr.Zero, (UIntPtr)BufferBytes, MemCommitReserve, PageReadWrite, TaskCritical,
                                     out IntPtr buffer) != 0)
            {
                return false;
            }
            buffers.Add(buffer);
        }
        return true;
    }

    private static bool AwaitLimit(IHostMemoryManager manager, ulong limit)
    {
        HostMemory memory = HostMemory.Current;
        var watch = Stopwatch.StartNew();
        while ((memory.Limit ?? ulong.MaxValue) != limit)
        {
            if (watch.Elapsed > TimeSpan.FromMinutes(1))
            {
                return false;
            }
            if (manager.VirtualAlloc(IntPtr.Zero, (UIntPtr)SmallBytes, MemCommitReserve, PageReadWrite, TaskCritical,
                                     out IntPtr small) == 0)
            {
                manager.VirtualFree(small, UIntPtr.Zero, MemRelease);
            }
            Thread.Sleep(20);
        }
        return true;
    }
}

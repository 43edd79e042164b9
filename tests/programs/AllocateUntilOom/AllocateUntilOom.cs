using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading;

// AllocateUntilOom [MAX_MIB [BLOCK_KIB [PAUSE_MS]]]: waits PAUSE_MS (0), then allocates blocks (1 MiB each by
// default) and keeps them. Stops when it holds MAX_MIB (default: no end) or when memory runs out. Exit code 0: all
// fitted; 42: an OutOfMemoryException was caught and the program could allocate again; 1: it could not.
internal static class AllocateUntilOom
{
    private const long Mebibyte = 1024 * 1024;

    private static int Main(string[] args)
    {
        long maximum = args.Length > 0 ? long.Parse(args[0]) * Mebibyte : long.MaxValue;
        int block = (args.Length > 1 ? int.Parse(args[1]) : 1024) * 1024;

        Thread.Sleep(args.Length > 2 ? int.Parse(args[2]) : 0);

        // Large enough in advance: growing the list's own array must not fail.
        var blocks = new List<byte[]>(1 << 16);
        long held;
        bool caught = Fill(blocks, maximum, block, out held);
        if (!caught)
        {
            Console.WriteLine("allocated " + held / Mebibyte + " MiB");
            GC.KeepAlive(blocks);
            return 0;
        }

        // Releases the blocks before printing or compiling anything: both need memory.
        blocks.Clear();
        GC.Collect();
        GC.WaitForPendingFinalizers();
#if NET
        // The GC keeps free regions committed, and does not always allocate from them when a commit is refused. An
        // aggressive collection returns them.
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
#else
        GC.Collect();
#endif
        Console.WriteLine("allocated " + held / Mebibyte + " MiB");
        Console.WriteLine("OutOfMemoryException after " + held / Mebibyte + " MiB");

        // The program has survived if half of the held memory fits again.
        long again;
        if (Fill(blocks, held / 2, block, out again))
        {
            Console.WriteLine("cannot allocate again: only " + again / Mebibyte + " MiB");
            return 1;
        }
        Console.WriteLine("allocated " + again / Mebibyte + " MiB again");
        GC.KeepAlive(blocks);
        return 42;
    }

    // Returns true if memory ran out before `maximum` bytes were held. Runs on its own thread: under Wine 8, .NET 8 may
    // crash on the second exception on the same thread.
    private static bool Fill(List<byte[]> blocks, long maximum, int block, out long held)
    {
        bool ranOut = false;
        long filled = 0;
        var thread = new Thread(() => ranOut = FillHere(blocks, maximum, block, out filled));
        thread.Start();
        thread.Join();
        held = filled;
        return ranOut;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool FillHere(List<byte[]> blocks, long maximum, int block, out long held)
    {
        held = 0;
        try
        {
            while (held < maximum)
            {
                var bytes = new byte[block];
                for (int i = 0; i < bytes.Length; i += 4096)
                {
                    bytes[i] = 1;
                }
                blocks.Add(bytes);
                held += block;
            }
            return false;
        }
        catch (OutOfMemoryException)
        {
            return true;
        }
    }
}

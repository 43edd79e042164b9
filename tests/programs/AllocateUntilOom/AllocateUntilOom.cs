using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading;

// AllocateUntilOom [MAX_MIB [BLOCK_KIB [PAUSE_MS]]]: after PAUSE_MS (0), keeps blocks (1 MiB each by default) until
// MAX_MIB of them are held (default: no end) or there is no more memory. Exit code 0 when all fitted, 42 when an
// OutOfMemoryException was caught and the program went on working, 1 when it did not.
internal static class AllocateUntilOom
{
    private const long Mebibyte = 1024 * 1024;

    private static int Main(string[] args)
    {
        long maximum = args.Length > 0 ? long.Parse(args[0]) * Mebibyte : long.MaxValue;
        int block = (args.Length > 1 ? int.Parse(args[1]) : 1024) * 1024;

        Thread.Sleep(args.Length > 2 ? int.Parse(args[2]) : 0);

        // The list's own array must not be what runs out.
        var blocks = new List<byte[]>(1 << 16);
        long held;
        bool caught = Fill(blocks, maximum, block, out held);
        if (!caught)
        {
            Console.WriteLine("allocated " + held / Mebibyte + " MiB");
            GC.KeepAlive(blocks);
            return 0;
        }

        // Let go before anything is printed, or compiled: both need memory.
        blocks.Clear();
        GC.Collect();
        GC.WaitForPendingFinalizers();
#if NET
        // The GC keeps free regions committed, which it does not always allocate from when a commit
        // is refused: have it give them back.
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
#else
        GC.Collect();
#endif
        Console.WriteLine("allocated " + held / Mebibyte + " MiB");
        Console.WriteLine("OutOfMemoryException after " + held / Mebibyte + " MiB");

        // Survived means that a good part of what had fitted fits again.
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

    // True when memory ran out before `maximum` bytes were held. On a thread of its own: under Wine 8, .NET 8 may die of
    // the next exception on a thread that has had one.
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

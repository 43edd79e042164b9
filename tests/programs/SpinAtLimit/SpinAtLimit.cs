using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Threading;

// SpinAtLimit spin|refill|occasional [SECONDS]: behaves like programs at their limit, for SECONDS (default: without
// end).
//   spin        keeps a full heap and requests one more block again and again, despite refusals: makes no progress
//   refill      fills the heap, drops all of it, and begins again: is refused often, but makes progress
//   occasional  keeps a full heap and works; requests one more block from time to time
// Exit code 0 when the time has passed.
internal static class SpinAtLimit
{
    private const int BlockBytes = 64 * 1024;
    // BlocksToSpare blocks are released, so that a thread can still start. LargeBytes are requested, which is more.
    private const int BlocksToSpare = 128;
    private const int LargeBytes = 256 * BlockBytes;

    private static long refused_;

    private static int Main(string[] args)
    {
        string mode = args.Length > 0 ? args[0] : "spin";
        double seconds = args.Length > 1 ? double.Parse(args[1]) : double.MaxValue;
        var clock = Stopwatch.StartNew();

        // Large enough in advance: growing the list's own array must not fail.
        var blocks = new List<byte[]>(1 << 20);
        OnItsOwnThread(() => Fill(blocks));
        Spare(blocks);
        while (clock.Elapsed.TotalSeconds < seconds)
        {
            switch (mode)
            {
                case "spin":
                    // Each attempt runs on its own thread: under Wine, a thread of .NET 8 may crash on its second
                    // OutOfMemoryException.
                    OnItsOwnThread(() => Keep(blocks, LargeBytes));
                    break;
                case "refill":
                    blocks.Clear();
                    OnItsOwnThread(() => Fill(blocks));
                    Spare(blocks);
                    break;
                default:
                    for (int i = 0; i < 20; ++i)
                    {
                        Work(blocks, i);
                    }
                    OnItsOwnThread(() => Keep(blocks, LargeBytes));
                    break;
            }
        }
        int held = blocks.Count;
        blocks.Clear();
        Console.WriteLine("held " + held + " blocks at the end, refused " + refused_ + " times");
        return 0;
    }

    private static void OnItsOwnThread(Action action)
    {
        var thread = new Thread(() => action());
        thread.Start();
        thread.Join();
    }

    private static void Spare(List<byte[]> blocks)
    {
        blocks.RemoveRange(blocks.Count - BlocksToSpare, BlocksToSpare);
        // Without an aggressive collection, the GC keeps the free memory committed and may still be refused a region.
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
    }

    private static void Fill(List<byte[]> blocks)
    {
        while (Keep(blocks, BlockBytes))
        {
        }
    }

    // Returns false if the allocation was refused.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool Keep(List<byte[]> blocks, int bytes)
    {
        try
        {
            blocks.Add(new byte[bytes]);
            return true;
        }
        catch (OutOfMemoryException)
        {
            ++refused_;
            return false;
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Work(List<byte[]> blocks, int round)
    {
        foreach (byte[] block in blocks)
        {
            block[round] ^= (byte)round;
        }
        Thread.Sleep(100);
    }
}

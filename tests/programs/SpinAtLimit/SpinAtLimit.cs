using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Threading;

// SpinAtLimit spin|refill|occasional [SECONDS]: how programs live at their limit, for SECONDS (default: without end).
//   spin        keeps a full heap and tries again for one more block, whatever it is told: no progress
//   refill      fills the heap, drops all of it, and begins again: refused often, and getting on
//   occasional  keeps a full heap and works on; it tries for one more block now and then
// Exit code 0 when the time is over.
internal static class SpinAtLimit
{
    private const int BlockBytes = 64 * 1024;
    // What is let go of, so that a thread can still be started, and what is asked for, which is more.
    private const int BlocksToSpare = 128;
    private const int LargeBytes = 256 * BlockBytes;

    private static long refused_;

    private static int Main(string[] args)
    {
        string mode = args.Length > 0 ? args[0] : "spin";
        double seconds = args.Length > 1 ? double.Parse(args[1]) : double.MaxValue;
        var clock = Stopwatch.StartNew();

        // The list's own array must not be what runs out.
        var blocks = new List<byte[]>(1 << 20);
        OnItsOwnThread(() => Fill(blocks));
        Spare(blocks);
        while (clock.Elapsed.TotalSeconds < seconds)
        {
            switch (mode)
            {
                case "spin":
                    // Each time on a thread of its own: under Wine one of .NET 8's may not survive its second
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
        // Otherwise a GC keeps what is free committed, and may still be refused a region.
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
    }

    private static void Fill(List<byte[]> blocks)
    {
        while (Keep(blocks, BlockBytes))
        {
        }
    }

    // False: refused.
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

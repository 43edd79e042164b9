using System;
using System.Diagnostics;
using System.Threading;

// Crawl [SECONDS]: fills the GC's heap with small objects until a collection gains only 1 % of it. Then it makes garbage
// until SECONDS have passed (default: without end). Each collection marks millions of objects and gains next to nothing.
// So nearly all of the time passes in collections. Exit code 0 when the time has passed; 42: the last thread caught an
// OutOfMemoryException.
internal static class Crawl
{
    private sealed class Node
    {
        public Node? Next;
        public Node? Other;
    }

    private const int NodeBytes = 32;
    // The heap may be full before a collection gains so little. The next thread then goes on with fewer nodes, and lets
    // a collection gain a little more. The threads start in advance, since a full heap has no room for a thread. Each
    // catches one OutOfMemoryException: under Wine, a thread of .NET 8 may crash on its second.
    private const int Threads = 8;

    private static readonly Stopwatch s_clock = Stopwatch.StartNew();
    private static readonly Random s_random = new(1);
    // A reference to one of the latest nodes makes each collection read memory in no order.
    private static readonly Node?[] s_latest = new Node?[4096];
    private static Node? s_nodes;
    private static int s_count;
    private static byte[]? s_garbage;
    private static int s_refused;
    private static bool s_finished;

    private static int Main(string[] args)
    {
        double seconds = args.Length > 0 ? double.Parse(args[0]) : double.MaxValue;
        Thread? last = null;
        for (int i = 0; i < Threads; ++i)
        {
            Thread? before = last;
            last = new Thread(() => RunAfter(before, seconds));
            last.Start();
        }
        last!.Join();
        int held = s_count;
        Drop(held);
        Console.WriteLine("held " + held + " nodes, collected " + GC.CollectionCount(0) + " times in " +
                          GC.GetTotalPauseDuration().TotalSeconds.ToString("F1") + " of " +
                          s_clock.Elapsed.TotalSeconds.ToString("F1") + " s");
        return s_finished ? 0 : 42;
    }

    private static void RunAfter(Thread? before, double seconds)
    {
        before?.Join();
        if (s_finished)
        {
            return;
        }
        try
        {
            Run(seconds);
            s_finished = true;
        }
        catch (OutOfMemoryException)
        {
            Array.Clear(s_latest);
            Drop(s_count / 256);
            ++s_refused;
        }
    }

    private static void Run(double seconds)
    {
        int collections = GC.CollectionCount(0);
        long allocated = GC.GetTotalAllocatedBytes();
        while (s_clock.Elapsed.TotalSeconds < seconds)
        {
            for (int i = 0; i < 16; ++i)
            {
                s_garbage = new byte[1000];
            }
            int more = GC.CollectionCount(0) - collections;
            if (more == 0)
            {
                continue;
            }
            long gained = (GC.GetTotalAllocatedBytes() - allocated) / more;
            Grow((gained - GC.GetGCMemoryInfo().HeapSizeBytes / (100 - 6 * s_refused)) / 16);
            collections = GC.CollectionCount(0);
            allocated = GC.GetTotalAllocatedBytes();
        }
    }

    private static void Grow(long bytes)
    {
        for (; bytes > 0; bytes -= NodeBytes)
        {
            s_nodes = new Node { Next = s_nodes, Other = s_latest[s_random.Next(s_latest.Length)] };
            s_latest[s_random.Next(s_latest.Length)] = s_nodes;
            ++s_count;
        }
    }

    private static void Drop(int nodes)
    {
        for (; nodes > 0; --nodes)
        {
            s_nodes = s_nodes!.Next;
            --s_count;
        }
    }
}

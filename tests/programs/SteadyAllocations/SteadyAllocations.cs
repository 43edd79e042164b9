using System;
using System.Diagnostics;

// SteadyAllocations [ROUNDS]: allocates like a busy web service, in ROUNDS (40) equal rounds: small objects, of which
// some survive for a while, and large arrays. Prints "steady <milliseconds> ms, <collections> collections" for the
// second half of the rounds. By then the code is compiled and the heap's size is stable.
internal static class SteadyAllocations
{
    private sealed class Node
    {
        public Node? Next;
        public byte[] Payload = Array.Empty<byte>();
    }

    private static int Main(string[] args)
    {
        int rounds = args.Length > 0 ? int.Parse(args[0]) : 40;
        var survivors = new Node?[20_000];
        var large = new byte[16][];
        long sum = 0;
        for (int round = 0; round < rounds / 2; ++round)
        {
            sum += Round(round, survivors, large);
        }
        int before = GC.CollectionCount(0);
        var watch = Stopwatch.StartNew();
        for (int round = rounds / 2; round < rounds; ++round)
        {
            sum += Round(round, survivors, large);
        }
        double elapsed = watch.Elapsed.TotalMilliseconds;
        Console.WriteLine("steady " + elapsed.ToString("F1") + " ms, " + (GC.CollectionCount(0) - before) +
                          " collections, sum " + sum);
        return 0;
    }

    private static long Round(int round, Node?[] survivors, byte[][] large)
    {
        long sum = 0;
        uint random = (uint)round * 2654435761 + 1;
        Node? list = null;
        for (int i = 0; i < 200_000; ++i)
        {
            random = random * 1664525 + 1013904223;
            var node = new Node { Next = list, Payload = new byte[random % 200] };
            list = i % 100 == 0 ? null : node;
            if (random % 16 == 0)
            {
                survivors[random / 16 % (uint)survivors.Length] = new Node { Payload = node.Payload };
            }
            sum += node.Payload.Length;
        }
        for (int i = 0; i < 4; ++i)
        {
            random = random * 1664525 + 1013904223;
            var array = new byte[100_000 + random % 2_000_000];
            array[^1] = 1;
            large[random % (uint)large.Length] = array;
            sum += array.Length;
        }
        return sum;
    }
}

using System;
using System.Collections.Generic;

// DataLibrary [MIB [END]]: stands for a program with a data-access library in memory. Takes MIB (28) of code, types and
// native blocks in equal parts, as OutsideHeap.cs does. Then it works for a while with 10 MiB of live rows. END:
//   return   (default) returns 0
//   recurse  recurses without end
//   exhaust  keeps ever more rows. Exit code 42: an OutOfMemoryException was caught; any time before also returns 42.
internal static class DataLibrary
{
    private const int Rows = 40_000;  // of 256 bytes each
    private const int Changes = 500_000;

    private static int Main(string[] args)
    {
        int mebibytes = args.Length > 0 ? int.Parse(args[0]) : 28;
        string end = args.Length > 1 ? args[1] : "return";
        try
        {
            Load(mebibytes);
            Work();
            if (end == "exhaust")
            {
                Exhaust();
            }
        }
        catch (OutOfMemoryException)
        {
            return 42;
        }
        if (end == "recurse")
        {
            Console.WriteLine(Recurse(1));
        }
        Console.WriteLine("worked");
        return 0;
    }

    private static readonly List<OutsideHeap> library_ = new();

    private static void Load(int mebibytes)
    {
        foreach (string kind in new[] { "code", "types", "native" })
        {
            OutsideHeap part = OutsideHeap.Prepare(kind, mebibytes / 3);
            for (int i = 0; i < mebibytes / 3; ++i)
            {
                part.Take(i);
            }
            library_.Add(part);
        }
    }

    private static void Work()
    {
        var random = new Random(1);
        var rows = new byte[Rows][];
        for (int i = 0; i < Changes; ++i)
        {
            rows[random.Next(Rows)] = new byte[232];
        }
    }

    private static void Exhaust()
    {
        var rows = new List<byte[]>();
        while (true)
        {
            rows.Add(new byte[232]);
        }
    }

    private static int Recurse(int depth)
    {
        return depth == 0 ? 0 : Recurse(depth + 1) + depth;
    }
}

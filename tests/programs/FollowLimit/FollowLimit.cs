using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Threading;

// FollowLimit MIB: waits until the GC's limit exceeds MIB, holds arrays of MIB in all, and drops them without a
// collection. Then waits until the GC's limit is below MIB. Each wait takes at most 10 s.
// Exit codes, with the line printed:
// - 0: "followed"
// - 42: "OutOfMemoryException after <n> MiB"
// - 3: "not raised"
// - 4: "not lowered"
internal static class FollowLimit
{
    private const int Mebibyte = 1024 * 1024;

    private static int Main(string[] args)
    {
        int mebibytes = int.Parse(args[0]);
        if (!WaitUntil(() => GcLimit() > (long)mebibytes * Mebibyte))
        {
            return End(3, "not raised");
        }
        int held = Hold(mebibytes);
        if (held < mebibytes)
        {
            return End(42, "OutOfMemoryException after " + held + " MiB");
        }
        if (!WaitUntil(() => GcLimit() < (long)mebibytes * Mebibyte))
        {
            return End(4, "not lowered");
        }
        return End(0, "followed");
    }

    private static int End(int code, string line)
    {
        Console.WriteLine(line);
        return code;
    }

    private static long GcLimit() => GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;

    private static bool WaitUntil(Func<bool> condition)
    {
        for (int round = 0; round < 1000; ++round)
        {
            if (condition())
            {
                return true;
            }
            Thread.Sleep(10);
        }
        return false;
    }

    // Returns how many MiB fitted. The arrays are garbage when it returns.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int Hold(int mebibytes)
    {
        var arrays = new List<byte[]>(mebibytes);
        try
        {
            while (arrays.Count < mebibytes)
            {
                arrays.Add(new byte[Mebibyte]);
            }
        }
        catch (OutOfMemoryException)
        {
        }
        return arrays.Count;
    }
}

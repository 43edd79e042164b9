using System;
using ClrHostMemory;

// MemoryInfo [LIMIT_MIB...] [+MIB]: prints what the GC takes for the machine's memory, at the start and after each
// change of the manager's limit. Each line is "<total> <high load threshold> <memory load>", in bytes.
// +MIB: finally allocates and holds that many MiB in arrays. Exit code 42: they did not fit.
internal static class MemoryInfo
{
    private static int Main(string[] args)
    {
        Report();
        foreach (string argument in args)
        {
            if (argument.StartsWith("+"))
            {
                return Hold(int.Parse(argument.Substring(1)));
            }
            HostMemory.Current.Limit = ulong.Parse(argument) * 1024 * 1024;
            GC.RefreshMemoryLimit();
            Report();
        }
        return 0;
    }

    private static int Hold(int mebibytes)
    {
        var blocks = new byte[mebibytes][];
        try
        {
            for (int i = 0; i < blocks.Length; ++i)
            {
                blocks[i] = new byte[1024 * 1024];
            }
        }
        catch (OutOfMemoryException)
        {
            return 42;
        }
        GC.KeepAlive(blocks);
        return 0;
    }

    private static void Report()
    {
        GC.Collect();
        GCMemoryInfo info = GC.GetGCMemoryInfo();
        Console.WriteLine(info.TotalAvailableMemoryBytes + " " + info.HighMemoryLoadThresholdBytes + " " +
                          info.MemoryLoadBytes);
    }
}

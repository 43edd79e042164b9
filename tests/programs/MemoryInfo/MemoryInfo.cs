using System;

// MemoryInfo [LIMIT_MIB...]: what the GC takes for the machine's memory, at the start and after each
// change of the manager's limit. A line each: "<total> <high load threshold> <memory load>", in bytes.
// "refused 0x..." instead when the limit could not be changed; exit code 1 then.
internal static class MemoryInfo
{
    private static int Main(string[] args)
    {
        Report();
        foreach (string argument in args)
        {
            ulong limit = ulong.Parse(argument) * 1024 * 1024;
            var control = HostManager.Find() as IClrHostMemoryControl;
            int result = control?.SetLimit(limit, HostManager.DefaultHeadroom, HostManager.DefaultHeadroom) ?? -1;
            if (result != 0)
            {
                Console.WriteLine("refused 0x" + result.ToString("x8"));
                return 1;
            }
            GC.RefreshMemoryLimit();
            Report();
        }
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

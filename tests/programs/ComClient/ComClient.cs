using System;
using System.Runtime.InteropServices;

// ComClient [ADDRESS]: calls the memory manager of this process through .NET's own COM interop. ADDRESS (decimal or
// 0x...) is the address of its IHostMemoryManager, from the argument or from the environment variable CLRMEM_MANAGER.
// Prints a line "ok <what>" or "FAILED <what>" for each check. Exit code 0: all checks passed; 1: a check failed; 2: no
// address.
internal static class ComClient
{
    private const int Ok = 0;
    private const int HostInvalidOperation = unchecked((int)0x80131022);
    private const uint MemCommit = 0x1000, MemReserve = 0x2000, MemFree = 0x10000;
    private const uint MemDecommit = 0x4000, MemRelease = 0x8000, MemPrivate = 0x20000;
    private const uint PageNoAccess = 0x01, PageReadOnly = 0x02, PageReadWrite = 0x04;
    private const uint ThreadSafe = 1;
    private const int TaskCritical = 0;
    private const int Page = 4096;

    private static int failures_;

    private static int Main(string[] args)
    {
        string? text = args.Length > 0 ? args[0]
                                       : Environment.GetEnvironmentVariable("CLRMEM_MANAGER");
        if (!HostManager.TryParseAddress(text, out IntPtr address))
        {
            Console.WriteLine("no address: give it as an argument or in CLRMEM_MANAGER");
            return 2;
        }

        object unknown = Marshal.GetObjectForIUnknown(address);
        var manager = (IHostMemoryManager)unknown;
        Check(true, "QueryInterface(IHostMemoryManager)");
        Malloc(manager);
        VirtualMemory(manager);
        Foreign(manager);
        MemoryLoad(manager);
        AddressSpace(manager);
        Marshal.FinalReleaseComObject(unknown);
        Console.WriteLine(failures_ == 0 ? "all ok" : failures_ + " failed");
        return failures_ == 0 ? 0 : 1;
    }

    private static void Malloc(IHostMemoryManager manager)
    {
        int result = manager.CreateMalloc(ThreadSafe, out IHostMalloc? malloc);
        Check(result == Ok && malloc != null, "CreateMalloc", result);
        if (malloc == null)
        {
            return;
        }
        result = malloc.Alloc((UIntPtr)1000, TaskCritical, out IntPtr memory);
        Check(result == Ok && memory != IntPtr.Zero, "Alloc", result);
        if (memory != IntPtr.Zero)
        {
            Marshal.WriteByte(memory, 999, 0x5a);
            Check(Marshal.ReadByte(memory, 999) == 0x5a, "allocated memory can be written");
            result = malloc.Free(memory);
            Check(result == Ok, "Free", result);
        }
        result = malloc.DebugAlloc((UIntPtr)64, TaskCritical, "ComClient.cs", 1, out memory);
        Check(result == Ok && memory != IntPtr.Zero, "DebugAlloc", result);
        result = malloc.Free(memory);
        Check(result == Ok, "Free of DebugAlloc's", result);
        result = malloc.Free(IntPtr.Zero);
        Check(result == Ok, "Free of null", result);

        IntPtr foreign = Marshal.AllocHGlobal(64);
        result = malloc.Free(foreign);
        Check(result == HostInvalidOperation, "Free of a foreign pointer is refused", result);
        Marshal.FreeHGlobal(foreign);
        Marshal.FinalReleaseComObject(malloc);
    }

    private static void VirtualMemory(IHostMemoryManager manager)
    {
        var size = (UIntPtr)(16 * 1024 * 1024);
        int result = manager.VirtualAlloc(IntPtr.Zero, size, MemReserve, PageNoAccess, TaskCritical,
                                          out IntPtr memory);
        Check(result == Ok && memory != IntPtr.Zero, "VirtualAlloc reserves", result);
        if (memory == IntPtr.Zero)
        {
            return;
        }
        IntPtr inside = memory + 3 * Page;
        result = manager.VirtualAlloc(inside, (UIntPtr)(4 * Page), MemCommit, PageReadWrite,
                                      TaskCritical, out IntPtr committed);
        Check(result == Ok && committed == inside, "VirtualAlloc commits inside", result);
        Marshal.WriteInt32(inside, 4 * Page - 4, 0x12345678);
        Check(Marshal.ReadInt32(inside, 4 * Page - 4) == 0x12345678, "committed memory can be written");

        Query(manager, inside, out MemoryBasicInformation information);
        Check(information.BaseAddress == inside && information.AllocationBase == memory &&
                  information.RegionSize == (UIntPtr)(4 * Page) && information.State == MemCommit &&
                  information.Protect == PageReadWrite && information.Type == MemPrivate,
              "VirtualQuery sees the committed pages");

        result = manager.VirtualProtect(inside, (UIntPtr)Page, PageReadOnly, out uint old);
        Check(result == Ok && old == PageReadWrite, "VirtualProtect", result);
        Query(manager, inside, out information);
        Check(information.RegionSize == (UIntPtr)Page && information.Protect == PageReadOnly,
              "VirtualQuery sees the protection");

        result = manager.VirtualFree(inside, (UIntPtr)(2 * Page), MemDecommit);
        Check(result == Ok, "VirtualFree decommits half", result);
        Query(manager, inside, out information);
        Check(information.State == MemReserve, "VirtualQuery sees the decommitted half");
        Query(manager, inside + 2 * Page, out information);
        Check(information.State == MemCommit, "VirtualQuery sees the half that stayed");

        result = manager.VirtualFree(memory, UIntPtr.Zero, MemRelease);
        Check(result == Ok, "VirtualFree releases", result);
        result = manager.VirtualFree(memory, UIntPtr.Zero, MemRelease);
        Check(result == HostInvalidOperation, "VirtualFree again is refused", result);
    }

    private static void Foreign(IHostMemoryManager manager)
    {
        // A module's address: memory that was not allocated through the manager.
        IntPtr module = NativeLibrary.Load("kernel32.dll");
        Query(manager, module, out MemoryBasicInformation information);
        Check(information.AllocationBase == module && information.State == MemCommit,
              "VirtualQuery sees foreign memory");
        int result = manager.VirtualFree(module, UIntPtr.Zero, MemRelease);
        Check(result == HostInvalidOperation, "VirtualFree of foreign memory is refused", result);
        result = manager.VirtualAlloc(IntPtr.Zero, UIntPtr.Zero, MemReserve, PageNoAccess,
                                      TaskCritical, out IntPtr memory);
        Check(result < 0 && memory == IntPtr.Zero, "VirtualAlloc of nothing fails and gives null", result);
        NativeLibrary.Free(module);
    }

    private static void MemoryLoad(IHostMemoryManager manager)
    {
        int result = manager.GetMemoryLoad(out uint load, out ulong available);
        Check(result == Ok && load <= 100 && available > 0,
              "GetMemoryLoad: " + load + " %, " + available + " bytes", result);
    }

    private static void AddressSpace(IHostMemoryManager manager)
    {
        // A CLR makes these calls for a mapped file. They accept any view.
        IntPtr module = NativeLibrary.Load("ntdll.dll");
        Query(manager, module, out MemoryBasicInformation information);
        int result = manager.AcquiredVirtualAddressSpace(module, information.RegionSize);
        Check(result == Ok, "AcquiredVirtualAddressSpace", result);
        result = manager.ReleasedVirtualAddressSpace(module);
        Check(result == Ok, "ReleasedVirtualAddressSpace", result);
        NativeLibrary.Free(module);
    }

    private static void Query(IHostMemoryManager manager, IntPtr address,
                              out MemoryBasicInformation information)
    {
        var length = (UIntPtr)(uint)Marshal.SizeOf<MemoryBasicInformation>();
        int result = manager.VirtualQuery(address, out information, length, out UIntPtr filled);
        if (result != Ok || filled != length)
        {
            Check(false, "VirtualQuery of 0x" + address.ToString("x"), result);
        }
    }

    private static void Check(bool right, string what, int result = Ok)
    {
        if (right)
        {
            Console.WriteLine("ok " + what);
            return;
        }
        ++failures_;
        Console.WriteLine("FAILED " + what + " (0x" + result.ToString("x8") + ")");
    }
}

using System;
using System.Runtime.InteropServices;

// The hosting interfaces of mscoree.h, for .NET's own COM interop: every method in vtable order, with HRESULTs returned
// unchanged.

[ComImport]
[Guid("7BC698D1-F9E3-4460-9CDE-D04248E9FA25")]
[InterfaceType(ComInterfaceType.InterfaceIsIUnknown)]
internal interface IHostMemoryManager
{
    [PreserveSig] int CreateMalloc(uint mallocType, out IHostMalloc? malloc);
    [PreserveSig] int VirtualAlloc(IntPtr address, UIntPtr size, uint allocationType, uint protect, int criticalLevel, out IntPtr memory);
    [PreserveSig] int VirtualFree(IntPtr address, UIntPtr size, uint freeType);
    [PreserveSig] int VirtualQuery(IntPtr address, out MemoryBasicInformation buffer, UIntPtr length, out UIntPtr result);
    [PreserveSig] int VirtualProtect(IntPtr address, UIntPtr size, uint newProtect, out uint oldProtect);
    [PreserveSig] int GetMemoryLoad(out uint memoryLoad, out ulong availableBytes);
    [PreserveSig] int RegisterMemoryNotificationCallback(ICLRMemoryNotificationCallback? callback);
    [PreserveSig] int NeedsVirtualAddressSpace(IntPtr startAddress, UIntPtr size);
    [PreserveSig] int AcquiredVirtualAddressSpace(IntPtr startAddress, UIntPtr size);
    [PreserveSig] int ReleasedVirtualAddressSpace(IntPtr startAddress);
}

[ComImport]
[Guid("1831991C-CC53-4A31-B218-04E910446479")]
[InterfaceType(ComInterfaceType.InterfaceIsIUnknown)]
internal interface IHostMalloc
{
    [PreserveSig] int Alloc(UIntPtr size, int criticalLevel, out IntPtr memory);
    [PreserveSig] int DebugAlloc(UIntPtr size, int criticalLevel, [MarshalAs(UnmanagedType.LPStr)] string file, int line, out IntPtr memory);
    [PreserveSig] int Free(IntPtr memory);
}

[ComImport]
[Guid("47EB8E57-0846-4546-AF76-6F42FCFC2649")]
[InterfaceType(ComInterfaceType.InterfaceIsIUnknown)]
internal interface ICLRMemoryNotificationCallback
{
    [PreserveSig] int OnMemoryNotification(int available);
}

// MEMORY_BASIC_INFORMATION. On 64-bit Windows, a partition id and padding follow AllocationProtect. The alignment of
// RegionSize leaves room for them. On 32-bit Windows, both are absent.
[StructLayout(LayoutKind.Sequential)]
internal struct MemoryBasicInformation
{
    public IntPtr BaseAddress;
    public IntPtr AllocationBase;
    public uint AllocationProtect;
    public UIntPtr RegionSize;
    public uint State;
    public uint Protect;
    public uint Type;
}

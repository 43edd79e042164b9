using System;
using System.Runtime.InteropServices;

// ComComponent: a COM class that a native program creates through ComComponent.comhost.dll. It does what Component does.
// tests/hosts/com_host.cpp declares the interface and the class, too.
[ComVisible(true)]
[Guid("5ae523eb-f9c1-44df-a071-1474c3232017")]
[InterfaceType(ComInterfaceType.InterfaceIsIUnknown)]
public interface IFill
{
    [PreserveSig]
    int Fill(int most);
}

[ComVisible(true)]
[Guid("6686db58-b5de-40bc-9d77-8371c499ff1b")]
[ClassInterface(ClassInterfaceType.None)]
public sealed class ComComponent : IFill
{
    public int Fill(int most) => Component.Fill(IntPtr.Zero, most);
}

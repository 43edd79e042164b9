using System;
using System.IO;
using System.Xml.Serialization;

// GeneratedSerializers [COUNT]: makes XML serializers with ever new root elements and uses them. Each is an assembly of
// its own with generated types and code, which is never unloaded. Stops after COUNT (default: no end). Exit code 0: all
// fitted; 42: an OutOfMemoryException was caught, possibly as the reason of another exception; 1: another exception.
public static class GeneratedSerializers
{
    public sealed class Document
    {
        public int Number { get; set; }
        public string Name { get; set; } = "";
        public double[] Values { get; set; } = { 1, 2, 3 };
    }

    private static int Main(string[] args)
    {
        int count = args.Length > 0 ? int.Parse(args[0]) : int.MaxValue;
        int made = 0;
        try
        {
            for (; made < count; ++made)
            {
                var serializer = new XmlSerializer(typeof(Document), new XmlRootAttribute("document" + made));
                serializer.Serialize(TextWriter.Null, new Document { Number = made });
            }
        }
        catch (Exception exception)
        {
            Exception? reason = exception;
            while (reason != null && !(reason is OutOfMemoryException))
            {
                reason = reason.InnerException;
            }
            if (reason != null)
            {
                return 42;
            }
            Console.WriteLine(exception);
            return 1;
        }
        Console.WriteLine("made " + made + " serializers");
        return 0;
    }
}

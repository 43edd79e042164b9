using System;
using System.Net;
using System.Net.Http;
using System.Linq;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.AspNetCore.Hosting.Server;

// WebHello [REQUESTS [CLIENTS [KIB]]]: an ASP.NET Core server on loopback. CLIENTS (4) tasks of the same program send
// it REQUESTS (200) requests in all. Each response allocates KIB (256) in pieces of all sizes, and every third
// response keeps some pieces for a while. Exit code 0: every response was right; 42: the server ran out of memory,
// reported it and continued; 1: all other results.
internal static class WebHello
{
    private const int Kept = 16;
    private static readonly byte[]?[] kept_ = new byte[Kept][];

    private static async Task<int> Main(string[] args)
    {
        int requests = args.Length > 0 ? int.Parse(args[0]) : 200;
        int clients = args.Length > 1 ? int.Parse(args[1]) : 4;
        int kib = args.Length > 2 ? int.Parse(args[2]) : 256;

        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(options => options.Listen(IPAddress.Loopback, 0));
        WebApplication app = builder.Build();
        app.MapGet("/hello/{number}", (HttpContext context) => Answer(context, kib));
        await app.StartAsync();
        string address = app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!
                            .Addresses.First();

        int right = 0;
        int out_of_memory = 0;
        int next = 0;
        var client = new HttpClient(new SocketsHttpHandler { UseProxy = false }) { BaseAddress = new Uri(address) };
        async Task Ask()
        {
            for (int number = Interlocked.Increment(ref next); number <= requests;
                 number = Interlocked.Increment(ref next))
            {
                using HttpResponseMessage response = await client.GetAsync("/hello/" + number);
                string text = await response.Content.ReadAsStringAsync();
                if (response.StatusCode == HttpStatusCode.OK && text == "hello " + number)
                {
                    Interlocked.Increment(ref right);
                }
                else if (response.StatusCode == HttpStatusCode.ServiceUnavailable)
                {
                    Interlocked.Increment(ref out_of_memory);
                }
            }
        }
        await Task.WhenAll(Enumerable.Range(0, clients).Select(_ => Task.Run(Ask)));
        client.Dispose();
        // Under Wine 8, closing a socket with an accept in progress sometimes never completes, under every host.
        await Task.WhenAny(app.StopAsync(), Task.Delay(TimeSpan.FromSeconds(1)));

        Console.WriteLine("answered " + right + " of " + requests + " requests");
        if (out_of_memory != 0)
        {
            Console.WriteLine("OutOfMemoryException in " + out_of_memory);
        }
        return right == requests ? 0 : right + out_of_memory == requests ? 42 : 1;
    }

    private static async Task Answer(HttpContext context, int kib)
    {
        string number = (string)context.Request.RouteValues["number"]!;
        try
        {
            Churn(int.Parse(number), kib * 1024);
        }
        catch (OutOfMemoryException)
        {
            context.Response.StatusCode = StatusCodes.Status503ServiceUnavailable;
            return;
        }
        byte[] text = Encoding.ASCII.GetBytes("hello " + number);
        context.Response.ContentLength = text.Length;
        await context.Response.Body.WriteAsync(text);
    }

    private static void Churn(int number, int bytes)
    {
        for (int size = 16; bytes > 0; bytes -= size, size = size < 100_000 ? size * 2 : 16)
        {
            var piece = new byte[Math.Min(size, bytes)];
            piece[0] = (byte)number;
            if (number % 3 == 0)
            {
                kept_[number % Kept] = piece;
            }
        }
    }
}

// The conformance suite cannot send a token: this stands before the gateway and adds it, and changes
// nothing else. Usage: TARGET=http://127.0.0.1:8080 API_KEY=rl_... PORT=9000 node shim.mjs
import http from "node:http";

const target = new URL(process.env.TARGET);
const authorization = `Bearer ${process.env.API_KEY}`;

http
  .createServer((request, response) => {
    const forwarded = http.request({
      host: target.hostname,
      port: target.port,
      method: request.method,
      path: request.url,
      headers: { ...request.headers, authorization },
    });
    forwarded.on("response", (answer) => {
      response.writeHead(answer.statusCode, answer.rawHeaders);
      response.flushHeaders();
      answer.pipe(response);
      answer.on("error", () => response.destroy());
    });
    forwarded.on("error", () => response.destroy());
    response.on("close", () => forwarded.destroy());
    request.pipe(forwarded);
  })
  .listen(Number(process.env.PORT), "127.0.0.1");

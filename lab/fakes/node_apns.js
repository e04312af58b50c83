// APNs by Node's own HTTP/2 (nghttp2): accepts every push, and prints the token and the size of the body of each.
// What it does beside that is the first argument, as JSON: settings to announce, and whether to say goodbye now and then.
'use strict';
const fs = require('node:fs');
const http2 = require('node:http2');

const [options, cert, key, port] = process.argv.slice(2);
const { settings, goaway } = JSON.parse(options);
const server = http2.createSecureServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key), settings });
let seen = 0;

server.on('sessionError', (error) => console.log(`session error ${error.message}`));
server.on('stream', (stream, headers) => {
  let size = 0;
  stream.on('error', (error) => console.log(`stream error ${error.message}`));
  stream.on('data', (chunk) => { size += chunk.length; });
  stream.on('end', () => {
    console.log(`${headers[':path']} ${size}`);
    stream.respond({ ':status': 200, 'apns-id': headers['apns-id'] || '' }, { endStream: true });
    seen += 1;
    if (goaway && seen % goaway === 0) stream.session.close();  // GOAWAY, then the end when all streams are answered
  });
});
server.listen(Number(port), '127.0.0.1', () => console.log('listening'));

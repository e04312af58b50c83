// A push gateway as the specification's Section 12 designs it, to compare ours with: express, express-rate-limit and
// node-apn. FCM is spoken by Node's own http2, because firebase-admin knows no other host than Google's; that is less work
// than firebase-admin does. It is for the bench only: no retries, no checks beyond the secret, one fixed access token.
const { readFileSync } = require("node:fs");
const { connect } = require("node:http2");
const apn = require("@parse/node-apn");
const express = require("express");
const { rateLimit } = require("express-rate-limit");

const env = process.env;
const log = (...words) => console.log("[INFO]", new Date().toISOString(), ...words);
const provider = new apn.Provider({
  token: { key: readFileSync(env.APNS_KEY_PATH), keyId: env.APNS_KEY_ID, teamId: env.APNS_TEAM_ID },
  address: "localhost", port: Number(env.APNS_PORT), ca: [readFileSync(env.CA)], production: false,
});
const fcm = connect(env.FCM_URL, { ca: readFileSync(env.CA) });
const counts = { sent: 0, failed: 0 };

function call(node) {
  const push = new apn.Notification();
  push.topic = `${env.APNS_BUNDLE_ID}.voip`;
  push.pushType = "voip";
  push.priority = 10;
  push.expiry = Math.floor(Date.now() / 1000) + 30;
  push.payload = { type: "incoming-call" };
  return provider.send(push, node).then((result) => result.failed.length === 0);
}

function message(node) {
  const body = JSON.stringify({ message: { token: node, data: { type: "new-message" }, android: { priority: "high" } } });
  return new Promise((resolve) => {
    const request = fcm.request({
      ":method": "POST", ":path": "/v1/projects/bench/messages:send",
      "authorization": "Bearer bench", "content-type": "application/json",
    });
    request.on("response", (headers) => resolve(headers[":status"] === 200));
    request.on("error", () => resolve(false));
    request.resume();
    request.end(body);
  });
}

const app = express();
app.use(express.json());
app.use(rateLimit({ windowMs: 1000, limit: 1e9 }));
app.post("/push", async (request, response) => {
  const { node, secret, type } = request.body;
  if (secret !== env.PUSH_SECRET) return response.status(403).send("Forbidden");
  const sent = await (type === "call" ? call(node) : message(node));
  counts[sent ? "sent" : "failed"] += 1;
  log("push", { token: node.slice(-6), type, sent });
  response.send("OK");
});
app.get("/failed", (_, response) => response.send(String(counts.failed)));
app.listen(Number(env.PORT), "127.0.0.1");

// A person at headless Chromium: `node clicks.mjs URL` opens what a client gave, signs in as EMAIL with PASSWORD, approves,
// and ends where the client waits. PLAYWRIGHT is the folder with the module.
import { createRequire } from "node:module";
import { join } from "node:path";

const { EMAIL, PASSWORD, PLAYWRIGHT } = process.env;
const require = createRequire(join(PLAYWRIGHT, "package.json"));
const { chromium } = require("playwright-core");

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
try {
  const page = await browser.newPage({ javaScriptEnabled: false });
  page.setDefaultTimeout(20_000);
  await page.goto(process.argv[2]);
  await page.getByLabel("E-mail address").fill(EMAIL);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: /act for you/ }).waitFor();
  await page.getByRole("button", { name: "Approve" }).click();
  await page.waitForURL((url) => url.searchParams.has("code"));
} finally {
  await browser.close();
}
